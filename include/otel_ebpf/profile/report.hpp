// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// to_report_html: traces and the profile of the same time as one page that needs nothing but a browser.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include <otel_ebpf/profile/report_data.hpp>
#include <otel_ebpf/profile/report_page/application.hpp>
#include <otel_ebpf/profile/report_page/body.hpp>
#include <otel_ebpf/profile/report_page/data.hpp>
#include <otel_ebpf/profile/report_page/details.hpp>
#include <otel_ebpf/profile/report_page/flame.hpp>
#include <otel_ebpf/profile/report_page/list.hpp>
#include <otel_ebpf/profile/report_page/style.hpp>
#include <otel_ebpf/profile/report_page/style_colors.hpp>
#include <otel_ebpf/profile/report_page/traces.hpp>
#include <otel_ebpf/profile/report_page/waterfall.hpp>

namespace otel_ebpf::profile {

// The whole page: script, style and data are inside, and nothing is fetched. Spans are tied to samples by their ids;
// names may hold any bytes.
[[nodiscard]] inline std::string to_report_html(const Profile& profile, std::span<const SpanRecord> spans,
                                                const ReportOptions& options = {}) {
    namespace page = detail::report_page;
    const detail::ReportModel model = detail::ReportModel::make(profile, spans);
    const std::string data = detail::ReportData(profile, model, options).to_json();
    std::string html;
    for (const std::string_view part :
         {page::head, std::string_view("<style>"), page::style_colors, page::style, std::string_view("</style>\n"),
          page::body, std::string_view("<script type=\"application/json\" id=\"data\">"), std::string_view(data),
          std::string_view("</script>\n<script>\n'use strict';\n(() => {"), page::data, page::list, page::traces,
          page::waterfall, page::flame, page::details, page::application,
          std::string_view("})();\n</script>\n</html>\n")})
        html += part;
    return html;
}

}  // namespace otel_ebpf::profile
