module example.com/offsets/x_net

go 1.26
