//! Sets what linking a Node-API module needs.

fn main() {
    napi_build::setup();
}
