# The image of all roles: the program, its libraries, the components, certificates and a shell; nothing else.
#
#   docker build --target quorate -t quorate:local .
#   docker build --target prebuilt --build-arg PREBUILT=dist -t quorate:local .     what was built outside, in dist/
#
# deploy/root.sh says what is in it. RUST_IMAGE is what is built in: Debian with Rust and rustup.
ARG RUST_IMAGE=rust:1.95.0-bookworm

# ---- What was built outside: nothing is run, no image is pulled. Builders that make every stage up to the one that is wanted come
# by here too: the pattern lets them pass without such a folder.
FROM scratch AS prebuilt
ARG PREBUILT=dist
COPY LICENSE-MIT LICENSE-APACHE ${PREBUILT}/roo[t] /
USER 10001:10001
ENTRYPOINT ["/quorate"]

# ---- From the sources.
FROM ${RUST_IMAGE} AS build
RUN apt-get update && apt-get install -y --no-install-recommends busybox-static ca-certificates && rm -rf /var/lib/apt/lists/*
RUN rustup target add wasm32-unknown-unknown
WORKDIR /src
COPY . .
RUN make dist DIST=/dist

FROM scratch AS quorate
COPY LICENSE-MIT LICENSE-APACHE /
COPY --from=build /dist/root/ /
USER 10001:10001
ENTRYPOINT ["/quorate"]
