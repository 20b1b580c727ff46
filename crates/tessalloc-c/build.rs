//! Gives the shared library the name under which programs that link it will look for it.
fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let name = match std::env::var("CARGO_CFG_TARGET_OS").as_deref() {
        Ok("linux" | "freebsd") => "-Wl,-soname,libtessalloc.so",
        Ok("macos") => "-Wl,-install_name,@rpath/libtessalloc.dylib",
        _ => return,
    };
    println!("cargo:rustc-cdylib-link-arg={name}");
}
