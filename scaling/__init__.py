"""How the pipeline does with very many datasets: what that costs in Dagster, and in its processes.

``python -m scaling`` measures it on this machine and writes ``docs/scale.md``; data, services and
surroundings are those of ``benchmarks``. All that is started is on this machine and ends with it.
"""
