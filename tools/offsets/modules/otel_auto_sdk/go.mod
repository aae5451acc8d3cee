module example.com/offsets/otel_auto_sdk

go 1.26
