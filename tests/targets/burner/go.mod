module otel_ebpf.test/burner

go 1.19
