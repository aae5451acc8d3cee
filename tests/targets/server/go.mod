module otel_ebpf.test/server

go 1.19
