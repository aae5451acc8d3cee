// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// A flame graph with every colour, hostile names, and a stack higher than a window: make_flame_graph FILE
#include <cstdint>
#include <fstream>
#include <string>
#include <utility>
#include <vector>

#include <otel_ebpf/profile/flame_graph.hpp>

namespace profile = otel_ebpf::profile;

namespace {

class Builder {
public:
    Builder() {
        profile_.period_ns = 10'000'000;
        profile_.processes = {{7, "sh<o>p & \"co\"", {}}};
    }
    std::uint32_t location(std::string function, bool is_kernel = false) {
        profile_.locations.push_back({0, 0x400000 + profile_.locations.size(), std::move(function), "", 0, is_kernel});
        return static_cast<std::uint32_t>(profile_.locations.size() - 1);
    }
    void samples(std::size_t count, std::uint8_t span, const std::vector<std::uint32_t>& outermost_first) {
        profile_.stacks.emplace_back(outermost_first.rbegin(), outermost_first.rend());
        profile::Sample& sample = profile_.samples.emplace_back();
        sample.stack = static_cast<std::uint32_t>(profile_.stacks.size() - 1);
        sample.times_unix_ns.resize(count, 1'760'000'000'000'000'000);
        if (span != 0) sample.trace_id.bytes[0] = sample.span_id.bytes[0] = span;
    }
    [[nodiscard]] const profile::Profile& built() const { return profile_; }

private:
    profile::Profile profile_;
};

}  // namespace

int main(int argc, char** argv) {
    if (argc != 2) return 2;
    Builder builder;
    std::vector<std::uint32_t> deep;
    for (int depth = 0; depth < 120; ++depth) deep.push_back(builder.location("main.deep" + std::to_string(depth)));
    builder.samples(500, 1, deep);
    builder.samples(300, 2, {builder.location("runtime.mallocgc"), builder.location("do_syscall_64", true)});
    builder.samples(150, 0,
                    {builder.location("]]><script>document.title='owned'</script>&amp;"),
                     builder.location("\xef\xbf\xbe\xff\x01\xe2\x80\xae, 9 samples, 1 ms, 2.00 %"),
                     builder.location(std::string(300, 'W'))});
    for (int i = 0; i < 50; ++i) builder.samples(1, 0, {builder.location("main.narrow" + std::to_string(i))});
    std::ofstream(argv[1]) << to_flame_graph_svg(
        builder.built(), {.title = "deep & <hostile>", .span_names = {{"0100000000000000", "GET /\"<a>\""}}});
    return 0;
}
