module example.com/offsets/sarama

go 1.26
