// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// Writes a report of made-up spans and samples: make_report [--spans N] [--samples N] [--hostile] FILE
//
// A shop of two services. Every fourth checkout computes a tax, in a span of its own; the bank signs receipts. What
// test_report.py looks for is in the names: the functions of one span are in no other.
#include <CLI/CLI.hpp>

#include <cstdio>
#include <fstream>
#include <random>

#include <otel_ebpf/profile/report.hpp>

namespace {

namespace oe = otel_ebpf;
using oe::profile::Location;
using oe::profile::Profile;
using oe::profile::SpanRecord;

constexpr std::uint64_t start_ns = 1'790'000'000'000'000'000, millisecond = 1'000'000;

class Maker {
public:
    Maker() {
        profile.start_unix_ns = start_ns;
        profile.period_ns = 10'101'010;  // 99 Hz
        for (const char* path : {"/srv/shop/store", "/usr/lib/libcrypto.so.3"})
            profile.mappings.emplace_back().path = path;
        profile.processes = {process(4242, "store"), process(4243, "bank")};
    }

    static oe::profile::SampledProcess process(std::uint32_t tgid, const std::string& name) {
        return {tgid, name, {{{"service.name", name}, {"process.pid", std::int64_t{tgid}}}}};
    }

    template <class Id>
    Id id() {
        Id made;
        for (std::uint8_t& byte : made.bytes) byte = static_cast<std::uint8_t>(random() & 0xff);
        made.bytes.back() |= 1;
        return made;
    }

    // A stack by the names of its functions, root first.
    std::uint32_t stack(std::initializer_list<const char*> functions) {
        std::vector<std::uint32_t> locations;
        for (const char* function : functions) {
            Location location{1, 0x401000 + profile.locations.size() * 16, function, "/srv/shop/checkout.go", 7, false};
            if (location.function == "?") location = {2, 0x7000, "", "", 0, false};
            if (location.function.starts_with("k:")) location = {0, 0x1, location.function.substr(2), "", 0, true};
            locations.insert(locations.begin(), static_cast<std::uint32_t>(profile.locations.size()));
            profile.locations.push_back(std::move(location));
        }
        profile.stacks.push_back(std::move(locations));
        return static_cast<std::uint32_t>(profile.stacks.size() - 1);
    }

    SpanRecord& span(const oe::TraceId& trace, const oe::SpanId& parent, const std::string& name, std::uint32_t process,
                     std::uint64_t begin_ns, std::uint64_t length_ns) {
        SpanRecord record;
        record.trace_id = trace;
        record.span_id = id<oe::SpanId>();
        record.parent = parent;
        record.name = name;
        record.kind = name.find('/') == std::string::npos ? oe::SpanKind::internal : oe::SpanKind::server;
        record.start_unix_ns = begin_ns;
        record.end_unix_ns = begin_ns + length_ns;
        record.service = profile.processes[process].name;
        record.tgid = profile.processes[process].tgid;
        spans.push_back(std::move(record));
        end_ns = std::max(end_ns, begin_ns + length_ns);
        return spans.back();
    }

    void sample(const oe::TraceId& trace, const oe::SpanId& span, std::uint32_t process, std::uint32_t stack,
                std::uint64_t from_ns, std::size_t count) {
        oe::profile::Sample made;
        made.process = process;
        made.tid = profile.processes[process].tgid + static_cast<std::uint32_t>(random() % 3);
        made.stack = stack;
        made.trace_id = trace;
        made.span_id = span;
        made.source = made.has_context() ? oe::profile::ContextSource::ebpf : oe::profile::ContextSource::none;
        for (std::size_t i = 1; i <= count; ++i) made.times_unix_ns.push_back(from_ns + i * profile.period_ns);
        samples += count;
        profile.samples.push_back(std::move(made));
    }

    Profile profile;
    std::vector<SpanRecord> spans;
    std::uint64_t end_ns = start_ns;
    std::size_t samples = 0;
    std::mt19937_64 random{42};
};

void make_checkout(Maker& maker, std::size_t number, std::size_t samples_per_trace) {
    static const std::uint32_t server = maker.stack({"net/http.(*conn).serve", "net/http.HandlerFunc.ServeHTTP",
                                                     "main.store.checkout", "encoding/json.Marshal",
                                                     "encoding/json.(*encodeState).reflectValue"});
    static const std::uint32_t collector = maker.stack({"net/http.(*conn).serve", "net/http.HandlerFunc.ServeHTTP",
                                                        "main.store.checkout", "runtime.mallocgc",
                                                        "runtime.gcAssistAlloc"});
    static const std::uint32_t tax = maker.stack({"net/http.(*conn).serve", "net/http.HandlerFunc.ServeHTTP",
                                                  "main.store.checkout", "main.computeTax", "math/big.(*Int).Exp",
                                                  "math/big.nat.expNN"});
    static const std::uint32_t sign = maker.stack({"net/http.(*conn).serve", "net/http.HandlerFunc.ServeHTTP",
                                                   "main.bank.pay", "main.signReceipt", "?"});
    static const std::uint32_t write = maker.stack({"net/http.(*conn).serve", "net/http.(*response).finishRequest",
                                                    "internal/runtime/syscall.Syscall6", "k:do_syscall_64",
                                                    "k:ksys_write"});
    const auto jitter = [&maker] { return maker.random() % (3 * millisecond); };
    const oe::TraceId trace = maker.id<oe::TraceId>();
    const std::uint64_t begin = start_ns + number * 7 * millisecond + jitter();
    const bool slow = number % 4 == 0;
    const std::uint64_t burn = slow ? (80 + number % 60) * millisecond : 4 * millisecond;
    const SpanRecord root =
        maker.span(trace, maker.id<oe::SpanId>(), "POST /checkout/{item}", 0, begin, burn + 34 * millisecond);
    SpanRecord& exported_root = maker.spans.back();
    exported_root.parent_is_remote = true;
    exported_root.attributes = {{"http.request.method", "POST"},
                                {"url.path", "/checkout/piano" + std::to_string(number)},
                                {"http.response.status_code", std::int64_t{number % 9 == 5 ? 502 : 200}}};
    if (number % 9 == 5) {
        exported_root.status = oe::StatusCode::error;
        exported_root.status_message = "bank: 503 Service Unavailable";
    }
    const std::size_t few = 1 + samples_per_trace / 8;
    maker.sample(trace, root.span_id, 0, server, begin, few + (slow ? 0 : samples_per_trace * 5 / 8));
    maker.sample(trace, root.span_id, 0, number % 3 == 0 ? collector : write, begin + burn + 20 * millisecond, few);
    const SpanRecord price =
        maker.span(trace, root.span_id, "GET /price/{item}", 1, begin + 2 * millisecond, 3 * millisecond);
    maker.sample(trace, price.span_id, 1, write, begin + 3 * millisecond, number % 5 == 0 ? 1 : 0);
    const SpanRecord computed =
        maker.span(trace, root.span_id, "compute tax", 0, begin + 6 * millisecond, burn + 4 * millisecond);
    if (slow)
        maker.sample(trace, computed.span_id, 0, tax, begin + 6 * millisecond,
                     std::max<std::size_t>(samples_per_trace, burn / maker.profile.period_ns));
    const SpanRecord pay =
        maker.span(trace, root.span_id, "POST /pay", 1, begin + burn + 12 * millisecond, 17 * millisecond);
    maker.sample(trace, pay.span_id, 1, sign, begin + burn + 12 * millisecond, few);
    maker.span(trace, pay.span_id, "settle", 1, begin + burn + 14 * millisecond, 9 * millisecond);
}

// Names that a page must show and not obey.
void make_hostile(Maker& maker) {
    const oe::TraceId trace = maker.id<oe::TraceId>();
    const std::string name = "</script><script>document.title = 'owned'</script>"
                             "<img src=x onerror=\"document.title='owned'\">";
    SpanRecord& span = maker.span(trace, maker.id<oe::SpanId>(), name, 0, start_ns, 3000 * millisecond);
    span.attributes = {{"<b>key</b>", std::string("\x1b[31m\xff\xfe\0 \u202egnp.exe", 19)}, {"<!--", "<!-- <script>"}};
    const std::uint32_t stack = maker.stack({"main.<img src=x onerror=document.title='owned'>", "main.</script>"});
    maker.sample(trace, span.span_id, 0, stack, start_ns, 120);
    // Two spans that are each other's parent, and a span that only samples know.
    const oe::TraceId circle = maker.id<oe::TraceId>();
    const std::size_t first = maker.spans.size();
    maker.span(circle, {}, "circle a", 0, start_ns, millisecond);
    maker.span(circle, {}, "circle b", 0, start_ns, millisecond);
    maker.spans[first].parent = maker.spans[first + 1].span_id;
    maker.spans[first + 1].parent = maker.spans[first].span_id;
    maker.sample(maker.id<oe::TraceId>(), maker.id<oe::SpanId>(), 1, stack, start_ns + 50 * millisecond, 3);
}

}  // namespace

int main(int argc, char** argv) {
    std::size_t spans = 60, samples = 0;
    bool hostile = false;
    std::string path;
    CLI::App app{"Writes a report of made-up spans and samples."};
    app.add_option("--spans", spans, "About as many spans, five per trace");
    app.add_option("--samples", samples, "At least as many samples, where there are spans; 0: as the spans last");
    app.add_flag("--hostile", hostile, "With names that try to break the page");
    app.add_option("FILE", path)->required();
    CLI11_PARSE(app, argc, argv);

    Maker maker;
    const std::size_t traces = spans / 5;
    for (std::size_t i = 0; i < traces; ++i) make_checkout(maker, i, traces == 0 ? 0 : samples / traces);
    if (hostile) make_hostile(maker);
    const std::uint32_t idle = maker.stack({"runtime.mcall", "runtime.schedule", "runtime.findRunnable"});
    if (spans != 0) maker.sample({}, {}, 0, idle, start_ns, 12);
    maker.profile.duration_ns = maker.end_ns - start_ns;
    oe::profile::ReportOptions options;
    options.title = "store, bank";
    if (hostile) {
        options.lost_samples = 3;
        options.notes = {"<b>store</b>: 1 site failed"};
    }
    std::ofstream file(path);
    file << to_report_html(maker.profile, maker.spans, options);
    if (file.flush()) return 0;
    std::fprintf(stderr, "make_report: write %s: failed\n", path.c_str());
    return 1;
}
