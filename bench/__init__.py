"""
Figures beside their yardsticks: `make bench` and `make bench-full`.

One benchmark a module, each with `run(bench) -> list[Figure]`. A yardstick runs in the same process
tree within the same minute, so that what disturbs one disturbs the other; ratios are what counts.
"""
