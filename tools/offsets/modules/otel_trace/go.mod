module example.com/offsets/otel_trace

go 1.26
