// For builds with -tags=xnet.
module otel_ebpf.test/server

go 1.19

require golang.org/x/net v0.7.0

require golang.org/x/text v0.7.0 // indirect
