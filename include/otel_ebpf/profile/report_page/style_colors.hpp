// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// The page of to_report_html, part: colours, light and dark.
#pragma once

#include <string_view>

namespace otel_ebpf::profile::detail::report_page {

// Orange is CPU time, everywhere; the colour of a service is wall time.
inline constexpr std::string_view style_colors = R"css(
:root {
  color-scheme: light dark;
  --page: #f4f5f7; --panel: #ffffff; --raised: #f8f9fb; --line: #e2e5ea; --line-strong: #c9ced6;
  --text: #181b20; --muted: #596270; --accent: #2952cc; --chosen: #e6edff; --hover: #f1f4f9;
  --cpu: #e8590c; --cpu-text: #b8400a; --cpu-soft: #ffe3d1; --wall-line: #9fb2d6;
  --bad: #c01c28; --bad-soft: #fde4e4; --warn: #8a5a00; --warn-soft: #fdf0cf;
  --frame-text: #20140a; --code-0: #ffb380; --code-1: #ffc08f; --code-2: #ffa36b; --code-3: #f9ca8f;
  --runtime: #dcd9c4; --kernel: #b3cdec; --unknown: #d5d8dd; --match: #c9a4f5; --base: #e7eaef;
  --service-0: #3f6fd1; --service-1: #128a7d; --service-2: #7d53c7; --service-3: #b8407f; --service-4: #68801f;
  --service-5: #0e80ab; --service-6: #6b7482;
  --shadow: 0 6px 24px rgb(20 28 46 / 16%);
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #0e1116; --panel: #161a21; --raised: #1b2029; --line: #272e39; --line-strong: #3c4656;
    --text: #e7eaef; --muted: #9aa5b4; --accent: #8fb0ff; --chosen: #1f2f52; --hover: #1d232d;
    --cpu: #ff8a3d; --cpu-text: #ffa565; --cpu-soft: #4a2a16; --wall-line: #56709f;
    --bad: #ff8a8a; --bad-soft: #4a1d21; --warn: #f2c55c; --warn-soft: #40320f;
    --frame-text: #140b04; --code-0: #ee9a62; --code-1: #f0ab78; --code-2: #e88b52; --code-3: #e3b176;
    --runtime: #aba88f; --kernel: #86a9d4; --unknown: #979da7; --match: #c49bff; --base: #2b3340;
    --service-0: #7ba3f5; --service-1: #3fc1b2; --service-2: #b295f2; --service-3: #ee84b8; --service-4: #adc25d;
    --service-5: #52bbe4; --service-6: #a5afbd;
    --shadow: 0 6px 28px rgb(0 0 0 / 55%);
  }
}
)css";

}  // namespace otel_ebpf::profile::detail::report_page
