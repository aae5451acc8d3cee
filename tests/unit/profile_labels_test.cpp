// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// Labels of the application as encoders write them.
#include "test.hpp"

#include <array>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include <otel_ebpf/profile/labels.hpp>
#include <otel_ebpf/profile/otlp.hpp>

namespace profile = otel_ebpf::profile;
using Labels = std::vector<std::pair<std::string, std::string>>;

namespace {

Labels written(Labels labels) {
    static constexpr std::array<std::string_view, 2> ours{"trace_id", "thread.id"};
    profile::Sample sample;
    sample.labels = std::move(labels);
    return profile::labels_to_write(sample, ours);
}

}  // namespace

TEST_CASE("profile labels: ordinary ones are as they are, in their order") {
    CHECK(written({}).empty());
    CHECK(written({{"tenant", "blue"}, {"a", ""}}) == Labels{{"tenant", "blue"}, {"a", ""}});
}

TEST_CASE("profile labels: of the same key the first counts, also where it is the same as UTF-8 only") {
    CHECK(written({{"tenant", "blue"}, {"tenant", "green"}}) == Labels{{"tenant", "blue"}});
    CHECK(written({{"\xff", "1"}, {"\xfe", "2\xfe"}}) == Labels{{"\xef\xbf\xbd", "1"}});
}

TEST_CASE("profile labels: none poses as ours, and none is without a key") {
    CHECK(written({{"trace_id", "f00d"}, {"", "x"}}) ==
          Labels{{"process.context.label.trace_id", "f00d"}, {"process.context.label.", "x"}});
    CHECK(written({{"process.context.label.trace_id", "1"}, {"trace_id", "2"}}) ==
          Labels{{"process.context.label.trace_id", "1"}});
}

TEST_CASE("profile labels: a profile without samples leaves nothing behind in the dictionary") {
    const auto request = nlohmann::json::parse(profile::to_otlp_json(profile::Profile()));
    CHECK(request.at("dictionary").at("stringTable") == nlohmann::json({""}));
}
