module example.com/offsets/redis

go 1.26
