//! Sets what linking a Node-API module needs.

fn main() {
    napi_build::setup();
    // Else its name is the path of the file on the machine that built it.
    if std::env::var("CARGO_CFG_TARGET_OS").is_ok_and(|system| system == "macos") {
        println!("cargo:rustc-cdylib-link-arg=-Wl,-install_name,@rpath/tessalloc.node");
    }
}
