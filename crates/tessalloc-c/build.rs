//! Gives the shared library the name under which programs that link it will look for it.
fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    if std::env::var("CARGO_CFG_TARGET_OS").is_ok_and(|system| system == "linux" || system == "freebsd") {
        println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libtessalloc.so");
    }
}
