#!/bin/sh
# The executors' Python: `sh infra/executor.sh VENV` from the root of the sources. Spark and Java are
# the cluster's; torch, deltalake and DuckDB stay with the driver. tests/spark/test_cluster.py
# runs stages on it.
set -eu
venv=$1
python3 -m venv "$venv"
"$venv/bin/python" -m pip install --quiet --no-compile --no-deps --constraint constraints.txt --requirement infra/executor.txt
"$venv/bin/python" -m pip install --quiet --no-compile --no-deps .
# Arrow's Flight, its headers and tests, tools that make networks smaller, face cascades, pip itself:
# no stage loads them. libarrow_python lies in its wheel three times.
cd "$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')"
rm -rf pyarrow/libarrow_flight* pyarrow/_flight* pyarrow/include pyarrow/tests pyarrow/includes pyarrow/*.p[xy][xi] \
    cv2/data/*.xml onnxruntime/capi/libonnxruntime.so* onnxruntime/transformers \
    onnxruntime/quantization onnxruntime/tools numpy/tests numpy/*/tests numpy/f2py numpy/distutils \
    pip pip-*.dist-info setuptools setuptools-*.dist-info pkg_resources _distutils_hack distutils-precedence.pth
find numpy cv2 PIL pydantic -name '*.pyi' -delete
whole=$(ls pyarrow/libarrow_python.so.*.*)
for copy in pyarrow/libarrow_python.so "${whole%.*.*}"; do ln -sf "$(basename "$whole")" "$copy"; done
