// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// Executable: what can be known about an executable file without running it.
#pragma once

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <otel_ebpf/elf.hpp>
#include <otel_ebpf/elf_symbols.hpp>
#include <otel_ebpf/error.hpp>
#include <otel_ebpf/fact.hpp>
#include <otel_ebpf/fd.hpp>
#include <otel_ebpf/go/buildinfo.hpp>
#include <otel_ebpf/go/dwarf.hpp>
#include <otel_ebpf/go/names.hpp>
#include <otel_ebpf/go/offset_table.hpp>
#include <otel_ebpf/go/offsets.hpp>
#include <otel_ebpf/go/pclntab.hpp>
#include <otel_ebpf/go/text_start.hpp>
#include <otel_ebpf/go/tls.hpp>
#include <otel_ebpf/log.hpp>
#include <otel_ebpf/version.hpp>

namespace otel_ebpf {

// Two files with the same identity have the same content, as far as the file system can tell.
struct FileIdentity {
    std::uint64_t dev = 0;
    std::uint64_t ino = 0;
    std::uint64_t size = 0;
    std::int64_t mtime_ns = 0;

    friend bool operator==(const FileIdentity&, const FileIdentity&) = default;

    static FileIdentity of(const struct stat& status) {
        return {status.st_dev, status.st_ino, static_cast<std::uint64_t>(status.st_size),
                status.st_mtim.tv_sec * std::int64_t{1'000'000'000} + status.st_mtim.tv_nsec};
    }
    // Follows links; nullopt when the path can't be reached.
    static std::optional<FileIdentity> of(const std::filesystem::path& path) {
        struct stat status {};
        if (::stat(path.c_str(), &status) != 0) return std::nullopt;
        return of(status);
    }
};

// `vaddr` is an address of the file, before any load bias. `size` is in bytes, without padding.
struct Function {
    std::string name;
    std::uint64_t vaddr = 0;
    std::uint64_t size = 0;

    friend bool operator==(const Function&, const Function&) = default;
};

struct FactValue {
    enum class Source : std::uint8_t { table, dwarf, symbol, computed };

    std::uint64_t value = 0;
    Source source = Source::computed;
    bool assumed = false;  // the release is newer than any measured in its minor, or was built with an experiment
};

constexpr std::string_view to_string(FactValue::Source source) {
    switch (source) {
        case FactValue::Source::table: return "table";
        case FactValue::Source::dwarf: return "dwarf";
        case FactValue::Source::symbol: return "symbol";
        case FactValue::Source::computed: return "computed";
    }
    return "unknown";
}

// True for a fact that this version of the module does not have, false for one that could not be found out.
inline bool is_absent(const Error& error) {
    return error.where == Stage::offset && error.code.value() == ENOENT;
}

// Immutable; safe to use from several threads. Keeps a descriptor of the file, so it outlives the path.
class Executable {
public:
    // Refuses what is not a 64-bit ELF executable, and a Go executable whose functions can't be located for certain.
    static Result<std::shared_ptr<const Executable>> open(const std::filesystem::path& path) {
        auto file = open_file(path);
        if (!file) return tl::unexpected(std::move(file).error());
        return inspect(std::move(*file), path);
    }

    // From bytes that outlive the Executable; its identity is empty.
    static Result<std::shared_ptr<const Executable>> from_memory(std::span<const std::byte> bytes) {
        return inspect(OpenFile{Fd(), {0, 0, bytes.size(), 0}, ByteSource::from_memory(bytes)}, "(memory)");
    }

    [[nodiscard]] const FileIdentity& identity() const { return identity_; }
    // runtime.text: what pclntab entries and method tables count from; 0 when not Go.
    [[nodiscard]] std::uint64_t go_text_start() const { return go_text_start_; }
    [[nodiscard]] const std::filesystem::path& path() const { return path_; }
    // Descriptor of the file: /proc/self/fd/N reaches it after its path is gone. Owned by the Executable.
    [[nodiscard]] int fd() const { return fd_.get(); }
    [[nodiscard]] const ElfFile& elf() const { return elf_; }
    [[nodiscard]] Arch arch() const { return elf_.arch(); }
    [[nodiscard]] bool is_pie() const { return elf_.is_position_independent(); }
    [[nodiscard]] const std::string& build_id() const { return elf_.build_id(); }

    [[nodiscard]] bool is_go() const { return build_info_.has_value(); }
    // Without symbols: functions come from the pclntab, offsets from the table only.
    [[nodiscard]] bool is_stripped() const { return !uses_symbols_; }
    [[nodiscard]] std::string_view go_version_text() const {
        return is_go() ? std::string_view(build_info_->go_version) : std::string_view();
    }
    // nullopt: not Go, or a development build.
    [[nodiscard]] std::optional<Version> go_version() const { return Version::parse(go_version_text()); }
    [[nodiscard]] std::span<const go::Dependency> modules() const {
        return is_go() ? std::span<const go::Dependency>(build_info_->dependencies) : std::span<const go::Dependency>();
    }
    [[nodiscard]] std::string_view main_module() const {
        return is_go() && build_info_->main_module ? std::string_view(build_info_->main_module->module.path)
                                                   : std::string_view();
    }
    [[nodiscard]] const std::optional<go::BuildInfo>& build_info() const { return build_info_; }

    // Functions of exactly these names, and their copies in vendor folders, by address. Without .symtab those of Go are
    // found all the same, others only where they are exported (.dynsym).
    [[nodiscard]] std::vector<Function> find_functions(std::span<const std::string_view> names) const {
        const go::NameSet wanted(names);
        std::vector<Function> found;
        visit_functions([&](std::string_view name, std::uint64_t vaddr, auto size) {
            if (wanted.contains(name)) found.push_back({std::string(name), vaddr, size()});
            return true;
        });
        std::ranges::sort(found, {}, &Function::vaddr);
        return found;
    }

    // Calls visit(name, vaddr, size) for each function until it returns false; `name` is valid during the call.
    template <class Visit>
    void for_each_function(Visit&& visit) const {
        visit_functions([&](std::string_view name, std::uint64_t vaddr, auto size) {
            return visit(name, vaddr, std::uint64_t{size()});
        });
    }

    // The function whose code covers `vaddr`.
    [[nodiscard]] std::optional<Function> function_at(std::uint64_t vaddr) const {
        std::optional<Function> found;
        visit_functions([&](std::string_view name, std::uint64_t begin, auto size) {
            if (vaddr < begin || vaddr - begin >= size()) return true;
            found = Function{std::string(name), begin, size()};
            return false;
        });
        return found;
    }

    [[nodiscard]] Result<std::vector<std::byte>> code(const Function& function) const {
        constexpr std::uint64_t max_bytes = 16 << 20;  // the largest generated Go functions have about 2 MB
        if (function.size > max_bytes || !elf_.is_code(function.vaddr, function.size))
            return fail(Stage::symbol,
                        named("has no code for " + function.name + " at " + ElfFile::hex(function.vaddr)));
        auto bytes = elf_.bytes_at(function.vaddr, function.size);
        if (!bytes) return failed(std::move(bytes).error());
        const auto view = std::as_const(*bytes).bytes();
        return std::vector<std::byte>(view.begin(), view.end());
    }

    // Where a uprobe on the instruction at `vaddr` goes.
    [[nodiscard]] Result<std::uint64_t> file_offset(std::uint64_t vaddr) const {
        auto offset = elf_.file_offset(vaddr);
        if (!offset) return failed(std::move(offset).error());
        return offset;
    }

    // Answers from the table, then DWARF, else an Error that names the field, module and version; is_absent() tells a
    // field that this version does not have from one that could not be found out.
    [[nodiscard]] Result<FactValue> fact(const FactQuery& query) const {
        switch (query.kind) {
            case FactKind::member_offset:
            case FactKind::type_size: return layout_fact(query);
            case FactKind::symbol_address: return symbol_fact(query.type);
            case FactKind::type_address:
                return fail(Stage::unsupported,
                            named("can't give the address of type " + std::string(query.package) + "." +
                                  std::string(query.type) + ": type addresses are not read yet"));
            case FactKind::experiment_flag:
                if (!is_go()) return fail(Stage::unsupported, named("is not a Go executable"));
                return FactValue{build_info_->has_experiment(query.type) ? 1u : 0u, FactValue::Source::computed};
            case FactKind::version_flag: {
                auto module = module_version(query.module);
                if (!module) return tl::unexpected(std::move(module).error());
                if (!module->version)
                    return fail(Stage::offset, named("was built with " + module->label + ": its version is unknown"));
                return FactValue{query.versions.contains(*module->version) ? 1u : 0u, FactValue::Source::computed};
            }
        }
        return fail(Stage::unsupported, named("can't answer an unknown kind of fact"));
    }

    // Offset of the current g from the thread pointer, in bytes, where the file alone tells it.
    [[nodiscard]] Result<std::int32_t> tls_g_offset() const {
        const auto place = tls_g();
        if (!place) return tl::unexpected(place.error());
        if (place->got_vaddr != 0)
            return fail(Stage::unsupported,
                        named("is a library: only a process that has loaded it tells the TLS offset of g"));
        return place->offset;
    }

    // Where threads keep the current g.
    [[nodiscard]] Result<go::TlsG> tls_g() const {
        if (!is_go()) return fail(Stage::unsupported, named("is not a Go executable"));
        std::uint64_t text_begin = go_text_start_, text_end = go_text_end_;
        if (uses_symbols_) {
            const auto begin = symbol_fact("runtime.text"), end = symbol_fact("runtime.etext");
            if (!begin || !end || begin->value > end->value)
                return fail(Stage::symbol, named("has no runtime.text and runtime.etext: its Go code can't be found"));
            text_begin = begin->value;
            text_end = end->value;
        }
        auto place = go::find_tls_g(elf_, text_begin, text_end);
        if (!place) return failed(std::move(place).error());
        return place;
    }

private:
    friend class ExecutableCache;

    struct OpenFile {
        Fd fd;
        FileIdentity identity;
        ByteSource source;
    };

    struct ModuleVersion {
        std::string_view path;  // of the code that was compiled
        std::optional<Version> version;
        std::string label;  // "Go 1.26.8", "google.golang.org/grpc v1.60.0"
    };

    Executable(OpenFile file, std::filesystem::path path, ElfFile elf)
        : fd_(std::move(file.fd)), identity_(file.identity), path_(std::move(path)), elf_(std::move(elf)) {}

    static Result<OpenFile> open_file(const std::filesystem::path& path) {
        // O_NONBLOCK: a FIFO must not hold up the caller.
        Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
        if (!fd) return fail_errno(Stage::target, "open " + path.string());
        struct stat status {};
        if (::fstat(fd.get(), &status) != 0) return fail_errno(Stage::target, "stat " + path.string());
        if (!S_ISREG(status.st_mode)) return fail(Stage::target, path.string() + " is not a regular file");
        const FileIdentity identity = FileIdentity::of(status);
        const auto source = ByteSource::from_fd(fd.get(), identity.size);
        return OpenFile{std::move(fd), identity, source};
    }

    static Result<std::shared_ptr<const Executable>> inspect(OpenFile file, const std::filesystem::path& path) {
        auto elf = ElfFile::open(file.source);
        if (!elf) return tl::unexpected(about(path, std::move(elf).error()));
        std::shared_ptr<Executable> executable(new Executable(std::move(file), path, std::move(*elf)));
        if (auto done = executable->read_go_facts(); !done) return tl::unexpected(about(path, std::move(done).error()));
        return executable;
    }

    // Messages of the readers are predicates.
    static Error about(const std::filesystem::path& path, Error error) {
        error.what.insert(0, path.string() + " ");
        return error;
    }
    [[nodiscard]] std::string named(std::string_view predicate) const {
        return path_.string() + " " + std::string(predicate);
    }
    [[nodiscard]] Failure failed(Error error) const { return tl::unexpected(about(path_, std::move(error))); }

    Result<void> read_go_facts() {
        auto info = go::read_build_info(elf_);
        if (!info) return tl::unexpected(std::move(info).error());
        build_info_ = std::move(*info);
        const ElfSection* symbols = elf_.section(".symtab");
        uses_symbols_ = symbols != nullptr;
        if (!is_go()) return {};
        auto header = go::read_pclntab_header(elf_);
        // A symbol table with fewer symbols than there are Go functions was stripped in part.
        const std::uint64_t function_count = header ? header->function_count : 0;
        uses_symbols_ = symbols != nullptr && symbols->size / sizeof(Elf64_Sym) > function_count;
        if (uses_symbols_) {
            if (const auto start = symbol_fact("runtime.text")) go_text_start_ = start->value;
            return {};
        }
        if (!header) return tl::unexpected(std::move(header).error());
        auto table = go::Pclntab::open(elf_, *header);
        if (!table) return tl::unexpected(std::move(table).error());
        auto start = go::find_text_start(elf_, *header, *table);
        if (!start) return tl::unexpected(std::move(start).error());
        pclntab_ = *header;
        go_text_start_ = *start;
        go_text_end_ = *start + table->entry(table->size());
        return {};
    }

    // Calls visit(name, vaddr, size) with size a function, since it costs something to find out.
    template <class Visit>
    void visit_functions(Visit&& visit) const {
        auto done = uses_symbols_ || !is_go() ? visit_symbols(visit) : visit_pclntab(visit);
        if (!done) log(LogLevel::error, named(done.error().what));
    }

    template <class Visit>
    Result<void> visit_symbols(Visit& visit) const {
        auto symbols = uses_symbols_ ? ElfSymbols::open(elf_) : ElfSymbols::open_dynamic(elf_);
        if (!symbols && !uses_symbols_) return {};  // a static executable without symbols
        if (!symbols) return tl::unexpected(std::move(symbols).error());
        symbols->for_each([&](std::string_view name, const Elf64_Sym& symbol) {
            if (!is_function(symbol) || !elf_.is_code(symbol.st_value, symbol.st_size)) return true;
            return visit(name, symbol.st_value, [&] { return symbol.st_size; });
        });
        return {};
    }

    template <class Visit>
    Result<void> visit_pclntab(Visit& visit) const {
        auto table = go::Pclntab::open(elf_, pclntab_);
        if (!table) return tl::unexpected(std::move(table).error());
        for (std::size_t i = 0; i < table->size(); ++i) {
            const auto size = [&, i] { return std::uint64_t{table->code_size(i)}; };
            if (!visit(table->name(i), go_text_start_ + table->entry(i), size)) break;
        }
        return {};
    }

    [[nodiscard]] Result<ModuleVersion> module_version(std::string_view module) const {
        if (!is_go()) return fail(Stage::unsupported, named("is not a Go executable"));
        if (module == "std") {
            const auto version = go_version();
            return ModuleVersion{module, version,
                                 version ? "Go " + version->to_string() : std::string(go_version_text())};
        }
        const auto answer = [](const go::Dependency& dependency) {
            const go::Module& code = dependency.effective();
            return ModuleVersion{code.path, code.known_version(),
                                 code.path + " " + (code.version.empty() ? "(a local folder)" : code.version)};
        };
        if (build_info_->main_module && build_info_->main_module->module.path == module)
            return answer(*build_info_->main_module);
        for (const go::Dependency& dependency : build_info_->dependencies)
            if (dependency.module.path == module) return answer(dependency);
        return fail(Stage::offset, named("does not contain the module " + std::string(module)), ENOENT);
    }

    [[nodiscard]] Result<FactValue> layout_fact(const FactQuery& query) const {
        auto module = module_version(query.module);
        if (!module) return tl::unexpected(std::move(module).error());
        const go::OffsetAnswer table = table_answer(query, *module);
        const bool is_measured = table.state != go::OffsetState::unknown;
        // An experiment may change a layout, and so may a patch release: DWARF knows, where there is any.
        const bool is_assumed = table.assumed || build_info_->has_experiments();
        const auto from_table = [&]() -> Result<FactValue> {
            if (table.state == go::OffsetState::absent) return absent(query, *module);
            return FactValue{table.value, FactValue::Source::table, is_assumed};
        };
        if (is_measured && !is_assumed) return from_table();
        auto dwarf = dwarf_answer(query);
        if (dwarf && dwarf->state == go::DwarfState::found) return FactValue{dwarf->value, FactValue::Source::dwarf};
        if (dwarf && dwarf->state == go::DwarfState::no_member) return absent(query, *module);
        if (is_measured) return from_table();
        const std::string why = !dwarf ? std::move(dwarf).error().what : "has DWARF without this type";
        return fail(Stage::offset, named("was built with " + module->label + ", for which " + text_of(query) +
                                         " is not in the offset table; it also " + why));
    }

    [[nodiscard]] static go::OffsetAnswer table_answer(const FactQuery& query, const ModuleVersion& module) {
        if (!module.version) return {};
        for (const go::OffsetModule& rows : go::offset_modules)
            if (rows.path == module.path)
                return go::find_offset(rows, *module.version, query.package, query.type, query.member);
        return {};
    }

    [[nodiscard]] Result<go::DwarfAnswer> dwarf_answer(const FactQuery& query) const {
        const std::string type = go::escape_path(query.package) + "." + std::string(query.type);
        std::scoped_lock lock(dwarf_mutex_);
        if (!dwarf_) dwarf_ = go::DwarfTypes::open(elf_);
        if (!*dwarf_) return tl::unexpected(dwarf_->error());
        return query.kind == FactKind::type_size ? (*dwarf_)->size_of(type)
                                                 : (*dwarf_)->member_offset(type, query.member);
    }

    static std::string text_of(const FactQuery& query) {
        std::string text = std::string(query.package) + "." + std::string(query.type);
        if (query.kind == FactKind::type_size) return "the size of " + text;
        return "the offset of " + text + "." + std::string(query.member);
    }

    [[nodiscard]] Failure absent(const FactQuery& query, const ModuleVersion& module) const {
        const std::string type = std::string(query.package) + "." + std::string(query.type);
        const std::string what = query.kind == FactKind::type_size
                                     ? "there is no type " + type
                                     : type + " has no such field: " + std::string(query.member);
        return fail(Stage::offset, named("was built with " + module.label + ", in which " + what), ENOENT);
    }

    [[nodiscard]] Result<FactValue> symbol_fact(std::string_view name) const {
        std::optional<std::uint64_t> address;
        if (uses_symbols_) {
            auto symbols = ElfSymbols::open(elf_);
            if (!symbols) return failed(std::move(symbols).error());
            symbols->for_each([&](std::string_view own_name, const Elf64_Sym& symbol) {
                if (own_name == name && ELF64_ST_TYPE(symbol.st_info) != STT_TLS) address = symbol.st_value;
                return !address;
            });
        } else {
            visit_functions([&](std::string_view own_name, std::uint64_t vaddr, auto) {
                if (own_name == name) address = vaddr;
                return !address;
            });
        }
        if (address) return FactValue{*address, FactValue::Source::symbol};
        return fail(Stage::symbol, named("has no symbol " + std::string(name) +
                                         (uses_symbols_ ? "" : " (it is stripped: only functions can be found)")));
    }

    Fd fd_;
    FileIdentity identity_;
    std::filesystem::path path_;
    ElfFile elf_;
    std::optional<go::BuildInfo> build_info_;
    go::PclntabHeader pclntab_;
    bool uses_symbols_ = false;
    std::uint64_t go_text_start_ = 0;  // both only without symbols
    std::uint64_t go_text_end_ = 0;
    mutable std::mutex dwarf_mutex_;
    mutable std::optional<Result<go::DwarfTypes>> dwarf_;
};

// Keeps the most recently used Executables, by identity of the file. Thread-safe.
class ExecutableCache {
public:
    explicit ExecutableCache(std::size_t capacity = 64) : capacity_(std::max<std::size_t>(capacity, 1)) {}

    // Inspects a file only when it is not the one of an earlier call. Failures are not kept.
    Result<std::shared_ptr<const Executable>> open(const std::filesystem::path& path) {
        auto file = Executable::open_file(path);
        if (!file) return tl::unexpected(std::move(file).error());
        const FileIdentity identity = file->identity;
        if (auto known = find(identity, std::scoped_lock(mutex_))) return known;
        auto fresh = Executable::inspect(std::move(*file), path);
        if (!fresh) return fresh;
        const std::scoped_lock lock(mutex_);
        if (auto known = find(identity, lock)) return known;  // another thread was faster
        entries_.push_front(*fresh);
        if (entries_.size() > capacity_) entries_.pop_back();
        return fresh;
    }

    [[nodiscard]] std::size_t size() const {
        std::scoped_lock lock(mutex_);
        return entries_.size();
    }

private:
    std::shared_ptr<const Executable> find(const FileIdentity& identity, const std::scoped_lock<std::mutex>&) {
        const auto found = std::ranges::find(entries_, identity, [](const auto& entry) { return entry->identity(); });
        if (found == entries_.end()) return nullptr;
        entries_.splice(entries_.begin(), entries_, found);
        return entries_.front();
    }

    mutable std::mutex mutex_;
    const std::size_t capacity_;
    std::list<std::shared_ptr<const Executable>> entries_;  // most recent first
};

}  // namespace otel_ebpf

template <>
struct std::hash<otel_ebpf::FileIdentity> {
    std::size_t operator()(const otel_ebpf::FileIdentity& identity) const noexcept {
        std::size_t result = 0;
        for (const std::uint64_t part :
             {identity.dev, identity.ino, identity.size, static_cast<std::uint64_t>(identity.mtime_ns)})
            result = (result ^ std::hash<std::uint64_t>{}(part)) * 0x9e3779b97f4a7c15u;
        return result;
    }
};
