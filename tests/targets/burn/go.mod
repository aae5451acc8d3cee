module otel_ebpf.test/burn

go 1.19
