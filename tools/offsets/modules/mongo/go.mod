module example.com/offsets/mongo

go 1.26
