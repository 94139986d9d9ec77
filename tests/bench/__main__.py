"""`make bench`: every benchmark, one after the other."""

from tests.bench import bench_engine, bench_frames, bench_ingest

bench_ingest.main([])
bench_engine.main()
bench_frames.main()
