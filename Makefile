# Everything a contributor or CI types. Each target sets up .venv itself, once, and again when
# pyproject.toml or constraints.txt change.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed
PROTOS := $(sort $(wildcard protos/convscope/v1/*.proto))
STUBS := clients/python
# Other people's plugins, as far as the server can tell: separate packages, installed and tested as such.
EXAMPLES := $(sort $(dir $(wildcard examples/plugins/*/pyproject.toml)))

.PHONY: demo test chaos fuzz soak check protos docs gallery serve bench clean

demo: $(STAMP)
	$(BIN)/convscope demo --out demo

# One thread each: a test that waits for another's threads measures nothing.
test: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile

# Minutes to half an hour each: the tests in tests/long at full length. `make test` has them short.
LONG = OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q --timeout 0 --log-cli-level=INFO

chaos: $(STAMP)
	$(LONG) tests/long/test_cuts.py tests/long/test_chaos.py --cuts 2000 --seconds 600 --clients 20

fuzz: $(STAMP)
	$(LONG) tests/long/test_fuzz.py --requests 100000

soak: $(STAMP)
	$(LONG) tests/long/test_soak.py --seconds 1800 --clients 8

check: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	cd protos && ../$(BIN)/buf lint .
	$(MAKE) --no-print-directory protos STUBS=.stubs-fresh
	diff -r -x __pycache__ -x __init__.py .stubs-fresh/convscope/v1 clients/python/convscope/v1
	rm -rf .stubs-fresh
	$(BIN)/python -m pytest -q tests/test_architecture.py
	$(MAKE) --no-print-directory docs

# The committed stubs, byte for byte, from a throw-away environment with the pinned generator.
protos: .venv-protos/.installed
	mkdir -p $(STUBS)/convscope/v1
	.venv-protos/bin/python -m grpc_tools.protoc --plugin=protoc-gen-mypy=.venv-protos/bin/protoc-gen-mypy \
		--plugin=protoc-gen-mypy_grpc=.venv-protos/bin/protoc-gen-mypy_grpc -I protos --python_out=$(STUBS) --grpc_python_out=$(STUBS) \
		--mypy_out=quiet:$(STUBS) --mypy_grpc_out=quiet:$(STUBS) $(PROTOS)

docs: $(STAMP)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

# Minutes to an hour: every technique with the real network. ONLY="saliency rise" paints these anew.
gallery: $(STAMP)
	cd docs && ../$(BIN)/python -m _gallery $(ONLY)

serve: $(STAMP)
	$(BIN)/convscope serve

bench: $(STAMP) .peers/.installed
	$(BIN)/python -m benchmarks

# lucent pins a kornia that pins a torch of long ago: both lie apart, without what they depend on.
.peers/.installed: $(STAMP)
	$(BIN)/python -m pip install --quiet --no-deps --target .peers torch-lucent==0.1.8 kornia==0.4.1 decorator==5.2.1
	touch $@

$(STAMP): pyproject.toml constraints.txt $(EXAMPLES:%=%pyproject.toml)
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet -c constraints.txt torch torchvision
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[dev]"
	$(BIN)/python -m pip install --quiet -c constraints.txt --no-deps quantus  # asks for the OpenCV with windows
	$(BIN)/python -m pip install --quiet --no-deps $(addprefix -e ,$(EXAMPLES))
	$(BIN)/python -m pip install --quiet --no-deps torchattacks==3.5.1  # pins a requests of 2021, and works with any
	touch $@

.venv-protos/.installed: protos/requirements.txt
	test -x .venv-protos/bin/python || $(PYTHON) -m venv .venv-protos
	.venv-protos/bin/python -m pip install --quiet -r protos/requirements.txt
	touch $@

clean:
	rm -rf .venv .venv-protos .peers .stubs-fresh site demo dist build
