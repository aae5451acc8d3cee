module example.com/offsets/kafka_go

go 1.26
