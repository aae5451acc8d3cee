// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// Executable: what can be known about an executable file without running it.
#pragma once

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <otel_ebpf/elf.hpp>
#include <otel_ebpf/error.hpp>
#include <otel_ebpf/executable_functions.hpp>
#include <otel_ebpf/fact.hpp>
#include <otel_ebpf/fd.hpp>
#include <otel_ebpf/go/build_version.hpp>
#include <otel_ebpf/go/buildinfo.hpp>
#include <otel_ebpf/go/dwarf.hpp>
#include <otel_ebpf/go/offset_table.hpp>
#include <otel_ebpf/go/offsets.hpp>
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
    [[nodiscard]] std::uint64_t go_text_start() const { return functions_->go_text_start(); }
    [[nodiscard]] const std::filesystem::path& path() const { return path_; }
    // Descriptor of the file: /proc/self/fd/N reaches it after its path is gone. Owned by the Executable.
    [[nodiscard]] int fd() const { return fd_.get(); }
    [[nodiscard]] const ElfFile& elf() const { return elf_; }
    [[nodiscard]] Arch arch() const { return elf_.arch(); }
    [[nodiscard]] bool is_pie() const { return elf_.is_position_independent(); }
    [[nodiscard]] const std::string& build_id() const { return elf_.build_id(); }

    [[nodiscard]] bool is_go() const { return build_info_.has_value(); }
    // Without symbols: functions come from the pclntab, offsets from the table only.
    [[nodiscard]] bool is_stripped() const { return !functions_->uses_symbols(); }
    // The function table of Go; nullptr when it is not Go, or has symbols and no table that can be read.
    [[nodiscard]] const go::FunctionIndex* go_functions() const { return functions_->go_functions(); }
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
    // found all the same, others only where they are exported (.dynsym). What can't be read is logged, and not found.
    [[nodiscard]] std::vector<Function> find_functions(std::span<const std::string_view> names) const {
        auto found = functions_->find(names);
        if (!found) log(LogLevel::error, named(found.error().what));
        return found ? std::move(*found) : std::vector<Function>();
    }

    // Calls visit(name, vaddr, size) for each function until it returns false; `name` is valid during the call.
    template <class Visit>
    void for_each_function(Visit&& visit) const {
        auto done = functions_->for_each(visit);
        if (!done) log(LogLevel::error, named(done.error().what));
    }

    // The function whose code covers `vaddr`.
    [[nodiscard]] std::optional<Function> function_at(std::uint64_t vaddr) const {
        auto found = functions_->at(vaddr);
        if (!found) log(LogLevel::error, named(found.error().what));
        return found ? std::move(*found) : std::nullopt;
    }

    // Refuses a function of a stripped Go executable whose code is not what its function table says: no site in it can
    // be trusted then.
    [[nodiscard]] Result<std::vector<std::byte>> code(const Function& function) const {
        constexpr std::uint64_t max_bytes = 16 << 20;  // the largest generated Go functions have about 2 MB
        if (function.size > max_bytes || !elf_.is_code(function.vaddr, function.size))
            return fail(Stage::symbol,
                        named("has no code for " + function.name + " at " + ElfFile::hex(function.vaddr)));
        if (auto checked = functions_->check(function); !checked) return failed(std::move(checked).error());
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

    // Offset of the current g from the thread pointer, in bytes.
    [[nodiscard]] Result<std::int32_t> tls_g_offset() const {
        if (!is_go()) return fail(Stage::unsupported, named("is not a Go executable"));
        std::uint64_t text_begin = functions_->go_text_start(), text_end = functions_->go_text_end();
        if (text_end == 0) {
            const auto begin = symbol_fact("runtime.text"), end = symbol_fact("runtime.etext");
            if (!begin || !end || begin->value > end->value)
                return fail(Stage::symbol, named("has no runtime.text and runtime.etext: its Go code can't be found"));
            text_begin = begin->value;
            text_end = end->value;
        }
        auto offset = go::find_tls_g_offset(elf_, text_begin, text_end);
        if (!offset) return failed(std::move(offset).error());
        return offset;
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
        functions_.emplace(elf_);
        auto info = go::read_build_info(elf_);
        if (!info) return tl::unexpected(std::move(info).error());
        build_info_ = std::move(*info);
        if (!build_info_ && !may_be_go()) return {};
        const auto header = go::read_pclntab_header(elf_);
        if (!build_info_) {
            if (!header) return {};
            auto version = release_without_build_info(*header);
            if (!version) return tl::unexpected(std::move(version).error());
            build_info_.emplace().go_version = std::move(*version);
            build_info_->has_modules = false;
        }
        return functions_->open_go(header);
    }

    // Whether an executable without build info deserves the search for a function table of Go.
    [[nodiscard]] bool may_be_go() const {
        return elf_.sections().empty() || !elf_.go_build_id().empty() || elf_.section(".gopclntab") != nullptr ||
               elf_.section(".data.rel.ro.gopclntab") != nullptr;
    }

    // A release is believed only where the function table has its layout.
    [[nodiscard]] Result<std::string> release_without_build_info(const go::PclntabHeader& header) const {
        auto text = go::find_build_version(elf_);
        if (!text) return tl::unexpected(std::move(text).error());
        const auto version = *text ? Version::parse(**text) : std::nullopt;
        const bool fits = version && (*version >= Version{1, 18, 0, false}) == header.since_1_18 &&
                          (*version >= Version{1, 20, 0, false}) == header.since_1_20 &&
                          (*version >= Version{1, 26, 0, false}) == (header.text_start == 0);
        return fits ? std::move(**text) : std::string("an unknown Go release");
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
        if (!build_info_->has_modules)
            return fail(Stage::offset, named("has no Go build info: the version of " + std::string(module) +
                                             " in it is unknown"));
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
        const auto address = functions_->symbol_address(name);
        if (!address) return failed(address.error());
        if (*address) return FactValue{**address, FactValue::Source::symbol};
        return fail(Stage::symbol, named("has no symbol " + std::string(name) +
                                         (is_stripped() ? " (it is stripped: only functions can be found)" : "")));
    }

    Fd fd_;
    FileIdentity identity_;
    std::filesystem::path path_;
    ElfFile elf_;
    std::optional<go::BuildInfo> build_info_;
    std::optional<detail::ExecutableFunctions> functions_;  // from inspect() on
    mutable std::mutex dwarf_mutex_;
    mutable std::optional<Result<go::DwarfTypes>> dwarf_;
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
