module example.com/offsets/genproto_rpc

go 1.26
