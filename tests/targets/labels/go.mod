module otel_ebpf.test/labels

go 1.19
