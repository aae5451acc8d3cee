module example.com/offsets/mongo_v2

go 1.26
