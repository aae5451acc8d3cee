// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// Attribute names of the OpenTelemetry semantic conventions, version 1.43.0
// (https://github.com/open-telemetry/semantic-conventions/tree/v1.43.0/docs/registry/attributes);
// stable ones unless marked.
#pragma once

#include <string_view>

namespace otel_ebpf::semconv {

inline constexpr std::string_view schema_url = "https://opentelemetry.io/schemas/1.43.0";

// HTTP
inline constexpr std::string_view http_request_method = "http.request.method";
inline constexpr std::string_view http_request_method_original = "http.request.method_original";
inline constexpr std::string_view http_request_resend_count = "http.request.resend_count";
inline constexpr std::string_view http_request_body_size = "http.request.body.size";    // development
inline constexpr std::string_view http_response_body_size = "http.response.body.size";  // development
inline constexpr std::string_view http_response_status_code = "http.response.status_code";
inline constexpr std::string_view http_route = "http.route";
inline constexpr std::string_view method_other = "_OTHER";  // value of http.request.method

// URL
inline constexpr std::string_view url_full = "url.full";
inline constexpr std::string_view url_path = "url.path";
inline constexpr std::string_view url_query = "url.query";
inline constexpr std::string_view url_scheme = "url.scheme";

// Who talks to whom
inline constexpr std::string_view client_address = "client.address";
inline constexpr std::string_view client_port = "client.port";
inline constexpr std::string_view server_address = "server.address";
inline constexpr std::string_view server_port = "server.port";
inline constexpr std::string_view network_local_address = "network.local.address";
inline constexpr std::string_view network_local_port = "network.local.port";
inline constexpr std::string_view network_peer_address = "network.peer.address";
inline constexpr std::string_view network_peer_port = "network.peer.port";
inline constexpr std::string_view network_protocol_name = "network.protocol.name";
inline constexpr std::string_view network_protocol_version = "network.protocol.version";
inline constexpr std::string_view network_transport = "network.transport";
inline constexpr std::string_view network_type = "network.type";
inline constexpr std::string_view user_agent_original = "user_agent.original";

// Errors
inline constexpr std::string_view error_type = "error.type";
inline constexpr std::string_view exception_message = "exception.message";
inline constexpr std::string_view exception_stacktrace = "exception.stacktrace";
inline constexpr std::string_view exception_type = "exception.type";

// Resource (process.* are release candidates)
inline constexpr std::string_view service_instance_id = "service.instance.id";
inline constexpr std::string_view service_name = "service.name";
inline constexpr std::string_view service_namespace = "service.namespace";
inline constexpr std::string_view service_version = "service.version";
inline constexpr std::string_view telemetry_distro_name = "telemetry.distro.name";
inline constexpr std::string_view telemetry_distro_version = "telemetry.distro.version";
inline constexpr std::string_view telemetry_sdk_language = "telemetry.sdk.language";
inline constexpr std::string_view telemetry_sdk_name = "telemetry.sdk.name";
inline constexpr std::string_view telemetry_sdk_version = "telemetry.sdk.version";
inline constexpr std::string_view host_name = "host.name";  // development
inline constexpr std::string_view container_id = "container.id";
inline constexpr std::string_view process_executable_build_id_go = "process.executable.build_id.go";
inline constexpr std::string_view process_executable_build_id_gnu = "process.executable.build_id.gnu";
inline constexpr std::string_view process_executable_name = "process.executable.name";
inline constexpr std::string_view process_executable_path = "process.executable.path";
inline constexpr std::string_view process_pid = "process.pid";
inline constexpr std::string_view process_runtime_name = "process.runtime.name";
inline constexpr std::string_view process_runtime_version = "process.runtime.version";

}  // namespace otel_ebpf::semconv
