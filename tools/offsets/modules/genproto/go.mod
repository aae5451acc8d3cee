module example.com/offsets/genproto

go 1.26
