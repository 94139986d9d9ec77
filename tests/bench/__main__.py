"""`make bench`: every benchmark, one after the other."""

from tests.bench import bench_engine, bench_ingest

bench_ingest.main([])
bench_engine.main()
