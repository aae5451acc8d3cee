module example.com/offsets/std

go 1.19
