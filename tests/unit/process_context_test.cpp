// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// Process contexts (OTEP 4719): vectors, damage, the protocol between writer and reader.
#include "test.hpp"

#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include <otel_ebpf/process.hpp>
#include <otel_ebpf/process_context.hpp>
#include <otel_ebpf/publish/process_context.hpp>

#include "elf_image.hpp"

namespace {

namespace oe = otel_ebpf;
using oe::publish::ProcessContextPublisher;
using oe::publish::ProcessDescription;

std::string vector_file(const std::string& name) {
    return read_file(std::string(OTEL_EBPF_SOURCE_DIR) + "/tests/vectors/" + name);
}

const ProcessDescription described{{{"service.name", "shop"},
                                    {"service.instance.id", "0123456789abcdef"},
                                    {"telemetry.sdk.language", "cpp"},
                                    {"deployment.environment.name", "Zürich"}},
                                   "tlsdesc_v1_dev",
                                   {"local_root_span_id", "http.route", ""}};

std::string text_of(const oe::ProcessContext& context, std::string_view key) {
    for (const auto& [name, value] : context.resource.attributes)
        if (name == key) return std::get<std::string>(value);
    return "(none)";
}

// Memory of a process that runs between two reads: `step` is called before each.
struct FakeProcess {
    static constexpr std::uint64_t header_at = 0x1000, payload_at = 0x2000;
    std::map<std::uint64_t, std::string> memory;
    std::function<void(FakeProcess&, int)> step;
    int reads = 0;

    explicit FakeProcess(std::string payload = vector_file("process_context.bin")) {
        set_header({oe::process_context_signature, 2, static_cast<std::uint32_t>(payload.size()), 7, payload_at});
        memory[payload_at] = std::move(payload);
    }
    oe::ProcessContextHeader header() const {
        return oe::load<oe::ProcessContextHeader>(as_bytes(memory.at(header_at)), 0);
    }
    void set_header(const oe::ProcessContextHeader& header) { memory[header_at] = ElfImage::raw_bytes(header); }
    void set_time(std::uint64_t time_ns) {
        auto changed = header();
        changed.published_at_ns = time_ns;
        set_header(changed);
    }
    oe::ReadMemory reader() {
        return [this](std::uint64_t addr, std::span<std::byte> out) -> oe::Result<void> {
            if (step) step(*this, reads);
            ++reads;
            for (const auto& [start, bytes] : memory) {
                if (addr < start || !oe::in_range(addr - start, out.size(), bytes.size())) continue;
                std::memcpy(out.data(), bytes.data() + (addr - start), out.size());
                return {};
            }
            return oe::fail(oe::Stage::target, "not mapped", EFAULT);
        };
    }
    oe::Result<std::optional<oe::ProcessContext>> read(std::uint64_t last = 0) {
        return oe::read_process_context(reader(), header_at, last);
    }
};

std::string refusal(FakeProcess process) {
    const auto context = process.read();
    return context ? "accepted" : context.error().what;
}

}  // namespace

TEST_CASE("process context: the payload that protoc made is decoded, and ours is the same bytes") {
    const std::string payload = vector_file("process_context.bin");
    REQUIRE(payload.size() > 200);
    const auto context = oe::decode_process_context(as_bytes(payload));
    REQUIRE(context);
    REQUIRE(context->resource.attributes.size() == 4);
    for (const auto& [key, value] : described.resource) CHECK(text_of(*context, key) == value);
    CHECK(context->thread_schema == "tlsdesc_v1_dev");
    CHECK(context->thread_keys == described.thread_keys);
    CHECK(context->dropped_attributes == 0);
    CHECK(oe::publish::encode_process_context(described) == payload);
}

TEST_CASE("process context: every type of attribute; what a Resource can't hold is counted") {
    const auto context = oe::decode_process_context(as_bytes(vector_file("process_context_types.bin")));
    REQUIRE(context);
    using Owned = oe::Resource::Owned;
    const std::vector<std::pair<std::string, Owned>> expected = {
        {"text", std::string()}, {"yes", true}, {"number", std::int64_t{-5}}, {"ratio", 0.25}};
    CHECK(context->resource.attributes == expected);
    CHECK(context->dropped_attributes == 3);
    CHECK(context->thread_schema.empty());
    CHECK(context->thread_keys.empty());
}

TEST_CASE("process context: no cut or changed byte does harm, and cuts are seen") {
    const std::string payload = vector_file("process_context.bin");
    std::size_t refused = 0;
    for (std::size_t size = 0; size < payload.size(); ++size) {
        const std::string cut = payload.substr(0, size);  // of its own, so that sanitizers see its end
        const std::vector<char> exact(cut.begin(), cut.end());
        if (!oe::decode_process_context(std::as_bytes(std::span(exact)))) ++refused;
    }
    CHECK(refused > payload.size() * 9 / 10);  // between two attributes is a good end
    for (std::size_t at = 0; at < payload.size(); ++at)
        for (const int bit : {0, 2, 7}) {
            std::string changed = payload;
            changed[at] = static_cast<char>(changed[at] ^ 1 << bit);
            const auto context = oe::decode_process_context(as_bytes(changed));
            if (!context) CHECK_FALSE(context.error().what.empty());
        }
}

TEST_CASE("process context: more keys than an index can name are refused") {
    ProcessDescription many{{}, "tls_v1", std::vector<std::string>(256, "k")};
    CHECK(oe::decode_process_context(as_bytes(oe::publish::encode_process_context(many)))->thread_keys.size() == 256);
    many.thread_keys.emplace_back("k");
    CHECK_FALSE(oe::decode_process_context(as_bytes(oe::publish::encode_process_context(many))));
}

TEST_CASE("process context: the three names of its mapping") {
    const std::string maps =
        "00400000-00401000 r-xp 00000000 fd:01 11 /bin/OTEL_CTX\n"
        "7f0000000000-7f0000001000 rw-p 00000000 00:01 1234 /memfd:OTEL_CTX (deleted)\n"
        "7f0000002000-7f0000003000 rw-p 00000000 00:01 1235 [anon_shmem:OTEL_CTX]\n"
        "7f0000004000-7f0000005000 rw-p 00000000 00:00 0 [anon:OTEL_CTX]\n"
        "7f0000006000-7f0000007000 r-xp 00000000 00:00 0 [anon:OTEL_CTX]\n"
        "7f0000008000-7f0000009000 ---p 00000000 00:00 0 [anon:OTEL_CTX]\n"
        "7f000000a000-7f000000b000 rw-p 00000000 00:00 0 [anon:OTHER]\n"
        "7f000000c000-7f000000d000 rw-p 00000000 00:00 0\n";
    CHECK(oe::parse_process_maps(maps).size() == 8);
    CHECK(oe::find_process_contexts(oe::parse_process_maps(maps)) ==
          std::vector<std::uint64_t>{0x7f0000000000, 0x7f0000002000, 0x7f0000004000});
    for (const char* broken : {"", "\n", "x", "1-2", "1-2 r", "2-1 r--p 0 0:0 0", "1-2 r--p z 0:0 0", "1-2 r--p 0 0:0"})
        CHECK(oe::parse_process_maps(broken).empty());
}

TEST_CASE("process context: the header vector") {
    const auto header = oe::load<oe::ProcessContextHeader>(as_bytes(vector_file("process_context_header.bin")), 0);
    CHECK(header.signature == oe::process_context_signature);
    CHECK(header.version == oe::process_context_version);
    CHECK(header.payload_size == vector_file("process_context.bin").size());
    CHECK(header.published_at_ns == 0x0123456789abcdef);
    CHECK(header.payload == 0x7f0123456789);
}

TEST_CASE("process context: a header that is not one is refused with its reason") {
    const auto changed = [](auto change) {
        FakeProcess process;
        auto header = process.header();
        change(header);
        process.set_header(header);
        return refusal(std::move(process));
    };
    CHECK(refusal(FakeProcess()) == "accepted");
    CHECK(changed([](auto& header) { header.signature[7] = 'x'; }).find("signature") != std::string::npos);
    CHECK(changed([](auto& header) { header.version = 1; }).find("version 1") != std::string::npos);
    CHECK(changed([](auto& header) { header.version = 3; }).find("version 3") != std::string::npos);
    CHECK(changed([](auto& header) { header.payload_size = 0; }).find("0 bytes") != std::string::npos);
    CHECK(changed([](auto& header) { header.payload_size = 65537; }).find("65537 bytes") != std::string::npos);
    CHECK(changed([](auto& header) { header.payload = 0x9000; }).find("not mapped") != std::string::npos);
    CHECK(refusal(FakeProcess("\xff")).find("malformed") != std::string::npos);
}

TEST_CASE("process context: a writer that is at work is waited for, three times") {
    FakeProcess process;
    process.set_time(0);
    CHECK(process.read().error().code.value() == EAGAIN);
    // Ready at the second look.
    process.step = [](FakeProcess& self, int reads) { if (reads == 4) self.set_time(9); };
    process.reads = 0;
    REQUIRE(process.read());
    // Each look sees another time stamp behind the payload than before it.
    process.step = [](FakeProcess& self, int reads) { self.set_time(100 + static_cast<std::uint64_t>(reads)); };
    CHECK(process.read().error().code.value() == EAGAIN);
    // Changed once, between the look at the time and that at the payload.
    FakeProcess once;
    once.step = [](FakeProcess& self, int reads) {
        if (reads != 3) return;
        self.memory[FakeProcess::payload_at] = oe::publish::encode_process_context({{{"service.name", "new"}}, "", {}});
        auto header = self.header();
        header.payload_size = static_cast<std::uint32_t>(self.memory[FakeProcess::payload_at].size());
        header.published_at_ns = 8;
        self.set_header(header);
    };
    const auto context = once.read();
    REQUIRE(context);
    CHECK(text_of(**context, "service.name") == "new");
    CHECK((*context)->published_at_ns == 8);
}

TEST_CASE("process context: the same or an older time stamp is no news") {
    FakeProcess process;
    CHECK(process.read(6)->has_value());
    CHECK_FALSE(process.read(7)->has_value());
    CHECK_FALSE(process.read(8)->has_value());
}

namespace {

std::vector<std::uint64_t> own_contexts() {
    return oe::find_process_contexts(oe::parse_process_maps(oe::detail::read_whole("/proc/self/maps")));
}

}  // namespace

TEST_CASE("process context: what this process publishes is found and read, updated, withdrawn") {
    auto& publisher = ProcessContextPublisher::instance();
    REQUIRE(own_contexts().empty());
    REQUIRE_FALSE(publisher.publish(described));
    REQUIRE(own_contexts().size() == 1);
    const std::uint64_t addr = own_contexts().front();
    const auto read = oe::memory_of(::getpid());
    const auto first = oe::read_process_context(read, addr, 0);
    REQUIRE(first);
    CHECK(text_of(**first, "service.name") == "shop");
    CHECK_FALSE(oe::read_process_context(read, addr, (*first)->published_at_ns)->has_value());

    REQUIRE_FALSE(publisher.publish({{{"service.name", "second"}}, "tls_v1", {"a", "b"}}));
    CHECK(own_contexts() == std::vector{addr});
    const auto second = oe::read_process_context(read, addr, (*first)->published_at_ns);
    REQUIRE(second);
    REQUIRE(second->has_value());
    CHECK(text_of(**second, "service.name") == "second");
    CHECK((*second)->published_at_ns > (*first)->published_at_ns);
    CHECK((*second)->thread_keys.size() == 2);

    // A payload that no reader would take changes nothing.
    CHECK(publisher.publish({{{"k", std::string(70000, 'x')}}, "", {}}).value() == EMSGSIZE);
    CHECK_FALSE(oe::read_process_context(read, addr, (*second)->published_at_ns)->has_value());

    // A child has none until it publishes its own.
    const pid_t child = ::fork();
    if (child == 0) {
        if (!own_contexts().empty()) ::_exit(1);
        if (ProcessContextPublisher::instance().publish({{{"service.name", "child"}}, "", {}})) ::_exit(2);
        ::_exit(own_contexts().size() == 1 ? 0 : 3);
    }
    int status = 0;
    REQUIRE(::waitpid(child, &status, 0) == child);
    CHECK(status == 0);
    CHECK(own_contexts().size() == 1);
    publisher.withdraw();
    CHECK(own_contexts().empty());
}

TEST_CASE("process context: a reader never sees half of an update") {
    auto& publisher = ProcessContextPublisher::instance();
    const auto numbered = [](int number) {
        const std::string text = std::to_string(number) + std::string(static_cast<std::size_t>(number % 50) * 20, 'x');
        return ProcessDescription{{{"first", text}, {"last", text}}, "", {}};
    };
    REQUIRE_FALSE(publisher.publish(numbered(0)));
    const std::uint64_t addr = own_contexts().front();
    std::atomic<bool> stop = false;
    std::jthread writer([&] {
        for (int number = 1; !stop; ++number) {
            [[maybe_unused]] const auto error = publisher.publish(numbered(number));
            // Now and then there is time for a whole look.
            if (number % 8 == 0) std::this_thread::sleep_for(std::chrono::microseconds(200));
        }
    });
    const auto read = oe::memory_of(::getpid());
    int whole = 0, retried = 0, torn = 0;
    for (int i = 0; i < 3000; ++i) {
        const auto context = oe::read_process_context(read, addr, 0);
        if (!context) ++(context.error().code.value() == EAGAIN ? retried : torn);
        else if (text_of(**context, "first") == text_of(**context, "last")) ++whole;
        else ++torn;
    }
    stop = true;
    writer.join();
    publisher.withdraw();
    CHECK(torn == 0);
    CHECK(whole > 100);
    CHECK(whole + retried == 3000);
}
