module example.com/offsets/pgx

go 1.26
