module example.com/offsets/otel_sdk

go 1.26
