module example.com/offsets/grpc

go 1.26
