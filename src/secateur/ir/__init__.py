"""What a compressed network is: plan, graph, meaning of each operation, file. numpy and zstandard; never torch."""
