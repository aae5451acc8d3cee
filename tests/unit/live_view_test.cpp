// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// The agent's live view: frames as a terminal shows them, rates, and what it does to a real (pseudo) terminal.
#include "../../examples/agent/live_view.hpp"

#include <stdlib.h>

#include <random>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "test.hpp"

namespace oe = otel_ebpf;
using namespace std::chrono_literals;
using agent::LiveRates;
using agent::LiveScreen;
using agent::LiveStatus;
using agent::TerminalSize;

namespace {

// As much of a terminal as frames use. Lines that scroll off the top stay in `rows`.
class Emulator {
public:
    explicit Emulator(TerminalSize size) : size_(size) {}

    void write(std::string_view text) {
        while (!text.empty()) {
            const std::size_t length = text.front() == '\x1b' ? escape(text) : character(text);
            text.remove_prefix(length);
        }
    }

    [[nodiscard]] std::vector<std::string> rows() const {
        std::vector<std::string> texts;
        for (const auto& cells : rows_) {
            std::string text;
            for (const std::string& cell : cells) text += cell;
            texts.push_back(text.substr(0, text.find_last_not_of(' ') + 1));
        }
        return texts;
    }
    [[nodiscard]] std::size_t cursor_row() const { return row_; }
    [[nodiscard]] bool wraps() const { return wraps_; }

private:
    std::size_t top() const { return rows_.size() > size_.rows ? rows_.size() - size_.rows : 0; }

    std::size_t escape(std::string_view text) {
        REQUIRE(text.starts_with("\x1b["));
        const std::size_t end = text.find_first_of("ABCDHJKmhl");
        REQUIRE(end != std::string_view::npos);
        const std::string argument(text.substr(2, end - 2));
        auto& cells = rows_[row_];
        switch (text[end]) {
            case 'A': row_ -= std::min<std::size_t>(row_ - top(), std::stoul(argument)); break;
            case 'K': cells.resize(std::min(cells.size(), column_)); break;
            case 'J':
                cells.resize(std::min(cells.size(), column_));
                rows_.resize(row_ + 1);
                break;
            case 'h':
            case 'l':
                REQUIRE((argument == "?7" || argument == "?25"));
                if (argument == "?7") wraps_ = text[end] == 'h';
                break;
            default: REQUIRE(text[end] == 'm');
        }
        return end + 1;
    }

    std::size_t character(std::string_view text) {
        const agent::Glyph glyph = agent::first_glyph(text);
        if (text.front() == '\r') {
            column_ = 0;
        } else if (text.front() == '\n') {
            if (++row_ == rows_.size()) rows_.emplace_back();
        } else {
            const auto decoded = oe::detail::decode_utf8(text);
            REQUIRE(decoded.length == glyph.bytes);
            REQUIRE_FALSE(oe::detail::is_control(decoded.value));
            CHECK(column_ + glyph.columns < size_.columns);
            auto& cells = rows_[row_];
            cells.resize(std::max(cells.size(), column_ + 1), " ");
            cells[column_] = text.substr(0, glyph.bytes);
            column_ += glyph.columns;
        }
        return glyph.bytes;
    }

    TerminalSize size_;
    std::vector<std::vector<std::string>> rows_{1};
    std::size_t row_ = 0;
    std::size_t column_ = 0;
    bool wraps_ = true;
};

struct Traffic {
    oe::TextArena arena;
    oe::Resource resource{{{"service.name", std::string("front")}}};
    std::uint64_t start_ns = 1'700'000'000'000'000'000;

    oe::Span span(std::string_view name, std::uint64_t duration_us = 1234, bool is_error = false) {
        oe::Span made(arena);
        made.context = {oe::random_trace_id(), oe::random_span_id(), 1};
        made.kind = oe::SpanKind::server;
        made.name = name;
        made.start_unix_ns = start_ns;
        made.end_unix_ns = start_ns + duration_us * 1000;
        made.set(oe::semconv::http_response_status_code, std::int64_t{is_error ? 503 : 200});
        if (is_error) made.status = oe::StatusCode::error;
        return made;
    }
};

oe::TargetRow target(std::int64_t pid, std::string_view executable, std::string_view service, bool exited = false) {
    oe::TargetRow row;
    row.pid = pid;
    row.executable = executable;
    row.service_name = service;
    row.exited = exited;
    return row;
}

void add(LiveScreen& screen, const oe::Span& span, TerminalSize size) {
    oe::SpanLineTrees trees;
    trees.add(span, oe::make_span_line(span, "front"), {});
    trees.take_all([&](auto tree) { screen.add_tree(tree, size); });
}

LiveStatus status_of(const LiveRates& rates, LiveRates::Clock::time_point now, TerminalSize size) {
    LiveStatus status;
    status.age = rates.age(now);
    status.spans = rates.spans();
    status.total = rates.total(now);
    status.history = rates.history(now);
    status.operations = rates.busiest(LiveScreen::operation_rows(size), now);
    status.targets = {target(812, "/srv/bin/front", "front"), target(813, "/srv/bin/stock", "", true)};
    return status;
}

std::size_t count_starting(const std::vector<std::string>& rows, std::string_view prefix) {
    return static_cast<std::size_t>(
        std::count_if(rows.begin(), rows.end(), [prefix](const std::string& row) { return row.starts_with(prefix); }));
}

// The master side of a terminal, and the file descriptor of the other.
struct PseudoTerminal {
    oe::Fd master{::posix_openpt(O_RDWR | O_NOCTTY | O_NONBLOCK)};
    oe::Fd slave;

    explicit PseudoTerminal(TerminalSize size) {
        REQUIRE(::grantpt(master.get()) == 0);
        REQUIRE(::unlockpt(master.get()) == 0);
        slave = oe::Fd(::open(::ptsname(master.get()), O_RDWR | O_NOCTTY));
        REQUIRE(slave);
        const winsize window{static_cast<unsigned short>(size.rows), static_cast<unsigned short>(size.columns), 0, 0};
        REQUIRE(::ioctl(slave.get(), TIOCSWINSZ, &window) == 0);
    }
    std::string read() {
        std::string text;
        char buffer[4096];
        for (ssize_t got = 0; (got = ::read(master.get(), buffer, sizeof buffer)) > 0;)
            text.append(buffer, static_cast<std::size_t>(got));
        return text;
    }
};

}  // namespace

TEST_CASE("live_view: a frame of 100 columns") {
    ::setenv("TZ", "UTC", 1);
    ::tzset();
    const TerminalSize size{100, 30};
    Traffic traffic;
    const auto start = LiveRates::Clock::now();
    LiveRates rates(start);
    for (int i = 0; i < 400; ++i)
        rates.add(traffic.span("GET /buy/{item}", i < 390 ? 500 : 20'000, i == 0), "front", start + 10ms * (i % 200));
    rates.add(traffic.span("price", 50), "front", start + 1s);
    LiveScreen screen(false);
    add(screen, traffic.span("GET /buy/{item}"), size);
    const LiveStatus status = status_of(rates, start + 2s, size);
    Emulator terminal(size);
    terminal.write(screen.frame(&status, size));
    std::string text = "\n";
    for (const std::string& row : terminal.rows()) text += row + "\n";
    CHECK(text == R"(
22:13:20.000   1.23 ms  front        server    GET /buy/{item}                           200
── otel-ebpf-trace ── 00:00:02 ── Ctrl-C ends ─────────────────────────────────────────────────────
       201 spans/s  errors 0.2%  p50 0.50 ms  p99 20.45 ms                        ██
       401 spans    dropped 0  front[812]  stock[813] exited
 service         span                                          spans/s   errors    p50 ms    p99 ms
 front           server GET /buy/{item}                          200.0     0.2%      0.50     20.45
 front           server price                                      0.5     0.0%      0.05      0.05
)");
    CHECK(terminal.wraps());
    ::unsetenv("TZ");
    ::tzset();
}

TEST_CASE("live_view: spans stay in the scrollback once, the status area stays at the bottom") {
    for (const TerminalSize size :
         {TerminalSize{80, 24}, TerminalSize{120, 50}, TerminalSize{40, 13}, TerminalSize{30, 6}}) {
        for (const bool colors : {false, true}) {
            Traffic traffic;
            const auto start = LiveRates::Clock::now();
            LiveRates rates(start);
            LiveScreen screen(colors);
            Emulator terminal(size);
            std::mt19937 random(7);
            std::size_t spans = 0;
            for (int frame = 0; frame < 40; ++frame) {
                for (std::size_t count = random() % 9; count > 0; --count, ++spans) {
                    const auto name = traffic.arena.copy("GET /" + std::to_string(random() % 20));
                    const oe::Span span = traffic.span(name, random() % 5000, random() % 5 == 0);
                    rates.add(span, "front", start + 100ms * frame);
                    add(screen, span, size);
                }
                const LiveStatus status = status_of(rates, start + 100ms * frame, size);
                terminal.write(screen.frame(&status, size));
                REQUIRE(terminal.rows().size() == terminal.cursor_row() + 1);
            }
            CHECK(count_starting(terminal.rows(), "2") == spans);  // "22:13:20" or later, whatever the time zone
            if (size.rows >= 12) CHECK(count_starting(terminal.rows(), "──") == 1);
            terminal.write(screen.frame(nullptr, size));
            const auto rows = terminal.rows();
            CHECK(rows.size() == spans + 1);
            CHECK(rows.back().empty());
        }
    }
}

TEST_CASE("live_view: a terminal that became narrower is painted over from where its broken rows begin") {
    Traffic traffic;
    const auto start = LiveRates::Clock::now();
    LiveRates rates(start);
    rates.add(traffic.span("GET /"), "front", start);
    LiveScreen screen(false);
    const TerminalSize wide{120, 40}, narrow{60, 40};
    const LiveStatus status = status_of(rates, start, wide);
    (void)screen.frame(&status, wide);
    // The rule and the head of the table are 119 columns, two rows each; the other three fit or not by their length.
    const std::string frame = screen.frame(&status, narrow);
    const auto up = std::stoul(frame.substr(frame.find("\r\x1b[") + 3));
    CHECK(up >= 6);
    CHECK(up <= 9);
}

TEST_CASE("live_view: text of spans, services, targets and notes cannot reach the terminal") {
    std::mt19937 random(5);
    Traffic traffic;
    const auto bytes = [&] {
        std::string text(random() % 60, '\0');
        for (char& c : text) c = static_cast<char>(random());
        return traffic.arena.copy(text);
    };
    const TerminalSize size{90, 40};
    const auto start = LiveRates::Clock::now();
    LiveRates rates(start);
    LiveScreen screen(true);
    Emulator terminal(size);  // checks every byte
    for (int i = 0; i < 200; ++i) {
        oe::Span span = traffic.span(bytes());
        span.set(bytes(), bytes());
        rates.add(span, bytes(), start);
        add(screen, span, size);
        screen.add_note(bytes());
        LiveStatus status = status_of(rates, start, size);
        status.targets = {target(1, bytes(), bytes())};
        terminal.write(screen.frame(&status, size));
    }
    CHECK(terminal.rows().size() >= 400);
}

TEST_CASE("live_view: colours by status, none when not wanted") {
    Traffic traffic;
    const TerminalSize size{100, 30};
    LiveScreen colored(true), plain(false);
    for (LiveScreen* screen : {&colored, &plain}) {
        add(*screen, traffic.span("GET /", 10, true), size);
        add(*screen, traffic.span("GET /", 10, false), size);
    }
    const LiveStatus status{.dropped = 3, .losses = "ringbuf_full 3"};
    const std::string text = colored.frame(&status, size);
    CHECK(text.find("\x1b[31m503") != std::string::npos);
    CHECK(text.find("\x1b[32m200") != std::string::npos);
    CHECK(text.find("\x1b[31mdropped 3 (ringbuf_full 3)") != std::string::npos);
    CHECK(plain.frame(&status, size).find('m' + std::string("503")) == std::string::npos);
}

TEST_CASE("live_view: long names and services leave the results in sight") {
    Traffic traffic;
    oe::Span span = traffic.span("GET /a/very/long/route/{with}/many/{parts}/and/more/{still}");
    span.set(oe::semconv::url_path, "/a");
    for (const std::size_t columns : {72U, 80U, 100U, 160U}) {
        const TerminalSize size{columns, 30};
        LiveScreen screen(false);
        oe::SpanLineTrees trees;
        trees.add(span, oe::make_span_line(span, "servicé-of-a-department-of-a-company"), {});
        trees.take_all([&](auto tree) { screen.add_tree(tree, size); });
        Emulator terminal(size);
        terminal.write(screen.frame(nullptr, size));
        INFO(terminal.rows().front());
        CHECK(terminal.rows().front().find("…  200") != std::string::npos);
    }
    CHECK(agent::short_service("unknown_service:shop") == "shop");
    CHECK(agent::short_service("unknown_service:") == "unknown_service:");
}

TEST_CASE("live_view: rates forget what is older than their window") {
    Traffic traffic;
    const auto start = LiveRates::Clock::now();
    LiveRates rates(start);
    for (int ms = 0; ms < 10'000; ++ms)
        rates.add(traffic.span("GET /", ms < 5000 ? 90'000 : 1000, ms < 5000), "front", start + 1ms * ms);
    const agent::Rate total = rates.total(start + 9999ms);
    CHECK(total.spans_per_second == Approx(1000).margin(1));
    CHECK(total.error_share == 0);
    CHECK(static_cast<double>(total.p99_ns) == Approx(1e6).epsilon(0.032));
    CHECK(rates.history(start + 9999ms).back() == 1000);
    CHECK(rates.busiest(10, start + 20s).empty());
    CHECK(rates.total(start + 20s).spans == 0);
    CHECK(rates.spans() == 10'000);
}

TEST_CASE("live_view: quantiles are right to 3.2 %") {
    for (std::uint64_t ns = 1; ns < (1ULL << 40); ns = ns * 9 / 8 + 1) {
        agent::LatencyHistogram histogram;
        histogram.add(ns);
        CHECK(static_cast<double>(histogram.quantile(0.99)) == Approx(static_cast<double>(ns)).epsilon(0.032));
    }
    agent::LatencyHistogram histogram;
    histogram.add(~0ULL);
    CHECK(histogram.quantile(1) > (1ULL << 39));
    CHECK(agent::LatencyHistogram().quantile(0.5) == 0);
}

TEST_CASE("live_view: operations beyond the limit are counted together") {
    Traffic traffic;
    const auto start = LiveRates::Clock::now();
    LiveRates rates(start);
    const auto add_many = [&](LiveRates::Clock::time_point now) {
        for (int i = 0; i < 1000; ++i)
            rates.add(traffic.span(traffic.arena.copy("GET /" + std::to_string(i))), "front", now);
    };
    add_many(start);
    auto rows = rates.busiest(1000, start);
    CHECK(rows.size() == LiveRates::max_operations + 1);
    const auto is_others = [](const agent::OperationRate& row) { return row.name == "(others)"; };
    REQUIRE(std::count_if(rows.begin(), rows.end(), is_others) == 1);
    CHECK(std::find_if(rows.begin(), rows.end(), is_others)->rate.spans == 1000 - LiveRates::max_operations);
    add_many(start + 60s);
    rows = rates.busiest(1000, start + 60s);
    std::uint64_t spans = 0;
    for (const auto& row : rows) spans += row.rate.spans;
    CHECK(spans == 1000);
}

TEST_CASE("live_view: the sampler follows the load and does not sway") {
    agent::TraceSampler sampler;
    sampler.adapt(50);
    CHECK(sampler.one_of() == 1);
    sampler.adapt(50'000);
    CHECK(sampler.one_of() == 1024);
    sampler.adapt(24'000);
    CHECK(sampler.one_of() == 1024);
    std::size_t taken = 0;
    for (int i = 0; i < 100'000; ++i) taken += sampler.takes(oe::random_trace_id()) ? 1 : 0;
    CHECK(taken > 50);
    CHECK(taken < 160);
    sampler.adapt(100);
    CHECK(sampler.one_of() == 2);
    sampler.adapt(0);
    CHECK(sampler.one_of() == 1);
}

TEST_CASE("live_view: text is cut by columns, not bytes") {
    std::string out;
    agent::append_cut(out, "\x1b[31mdéjà vu\x1b[0m", 5);
    CHECK(out == "\x1b[31mdéjà…\x1b[0m");
    out.clear();
    agent::append_cut(out, "日本語", 5);
    CHECK(out == "日本…");
    out.clear();
    agent::append_cut(out, "日本語", 6);
    CHECK(out == "日本語");
    out.clear();
    agent::append_cell(out, "é", 3);
    CHECK(out == "é  ");
}

TEST_CASE("live_view: ten frames a second at most, a sample at full load, and the terminal as it was") {
    const TerminalSize size{100, 30};
    PseudoTerminal terminal(size);
    termios before{}, during{}, after{};
    ::tcgetattr(terminal.slave.get(), &before);
    Traffic traffic;
    std::string text;
    std::size_t spans = 0;
    {
        auto view = agent::LiveView::open(terminal.slave.get());
        REQUIRE(view);
        int stats_calls = 0;
        (*view)->watch(
            [&stats_calls] {
                ++stats_calls;
                oe::Stats stats;
                stats.kernel[OE_STAT_RINGBUF_FULL] = 7;
                return stats;
            },
            [] { return std::vector{target(812, "/srv/front", "front")}; });
        ::tcgetattr(terminal.slave.get(), &during);
        std::vector<oe::Span> batch;
        for (int i = 0; i < 100; ++i) batch.push_back(traffic.span("GET /"));
        const auto end = std::chrono::steady_clock::now() + 550ms;
        while (std::chrono::steady_clock::now() < end) {
            for (oe::Span& span : batch) span.context.trace_id = oe::random_trace_id();
            (*view)->write({traffic.resource, batch});
            spans += batch.size();
            std::this_thread::sleep_for(1ms);
            text += terminal.read();
        }
        CHECK(stats_calls == 1);
        CHECK((*view)->flush(500ms));
        CHECK((*view)->stats().spans_written == spans);
        CHECK((*view)->stats().spans_dropped == 0);
    }
    text += terminal.read();
    ::tcgetattr(terminal.slave.get(), &after);
    CHECK(after.c_lflag == before.c_lflag);
    CHECK(text.starts_with("\x1b[?25l"));
    CHECK(text.ends_with("\x1b[0m\x1b[?7h\x1b[?25h"));

    std::size_t frames = 0;
    for (std::size_t at = 0; (at = text.find("── otel-ebpf-trace", at)) != std::string::npos; ++at) ++frames;
    CHECK(frames >= 3);
    CHECK(frames <= 7);
    CHECK(text.find("showing 1 of ") != std::string::npos);
    CHECK(text.find("dropped 7 (ringbuf_full 7)") != std::string::npos);
    CHECK(text.find("front[812]") != std::string::npos);
    Emulator emulator(size);
    emulator.write(text);
    CHECK(emulator.rows().size() < 1500);
    CHECK(emulator.rows().size() > 10);
}

TEST_CASE("live_view: a terminal that is stopped or gone neither blocks nor grows") {
    Traffic traffic;
    PseudoTerminal terminal({100, 30});
    auto view = agent::LiveView::open(terminal.slave.get());
    REQUIRE(view);
    const std::vector<oe::Span> batch = {traffic.span("GET /")};
    ::tcflow(terminal.slave.get(), TCOOFF);
    const auto begin = std::chrono::steady_clock::now();
    for (int i = 0; i < 100'000; ++i) (*view)->write({traffic.resource, batch});
    CHECK_FALSE((*view)->flush(10ms));
    CHECK(std::chrono::steady_clock::now() - begin < 5s);
    ::tcflow(terminal.slave.get(), TCOON);
    bool is_flushed = false;
    std::size_t bytes = 0;
    for (int i = 0; i < 1000 && !is_flushed; ++i) {
        is_flushed = (*view)->flush(1ms);
        bytes += terminal.read().size();
    }
    CHECK(is_flushed);
    CHECK(bytes < 100'000);

    terminal.master.reset();
    std::this_thread::sleep_for(110ms);
    for (int i = 0; i < 3; ++i) {
        (*view)->write({traffic.resource, batch});
        std::this_thread::sleep_for(110ms);
    }
    CHECK((*view)->stats().spans_dropped > 0);
    CHECK((*view)->stats().last_error.starts_with("write to the terminal: "));
}

TEST_CASE("live_view: what is no terminal is refused") {
    const oe::Fd null(::open("/dev/null", O_WRONLY));
    const auto view = agent::LiveView::open(null.get());
    REQUIRE_FALSE(view);
    CHECK(view.error().what.find("read the modes") != std::string::npos);
}
