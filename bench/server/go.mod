module otel_ebpf.bench/server

go 1.22
