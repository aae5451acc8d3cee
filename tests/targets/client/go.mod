module otel_ebpf.test/client

go 1.26
