module example.com/offsets/otel

go 1.26
