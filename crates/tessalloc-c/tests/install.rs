//! The installed tree: found by pkg-config and by CMake, also after it was moved.
mod support;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use support::*;

/// A tree that was installed at one place and moved to another.
fn tree() -> &'static Path {
    static TREE: OnceLock<PathBuf> = OnceLock::new();
    TREE.get_or_init(|| {
        let (first, tree) = (scratch().join("installed"), scratch().join("moved"));
        let workspace = package().ancestors().nth(2).expect("the package is in the workspace, in crates/");
        let mut install = Command::new("node");
        install.args(["scripts/setup.mjs", "install-c", "--prefix"]).arg(&first);
        install.current_dir(workspace).env("CARGO_TARGET_DIR", target());
        must(&mut install);
        fs::rename(first, &tree).expect("move the tree");
        tree
    })
}

/// Runs a program that finds its library in the tree, and checks that it does.
fn runs(program: &Path) {
    says_ok(Command::new(program).env("LD_LIBRARY_PATH", tree().join("lib")));
}

#[test]
fn installed_tree_is_found_by_pkg_config() {
    if !need("pkg-config", &["pkg-config"]) {
        return;
    }
    let about = |arguments: &[&str]| -> Vec<String> {
        let mut command = Command::new("pkg-config");
        command.args(arguments).env("PKG_CONFIG_PATH", tree().join("lib/pkgconfig"));
        must(&mut command).split_whitespace().map(String::from).collect()
    };
    assert_eq!(about(&["--modversion", "tessalloc"]), [env!("CARGO_PKG_VERSION")]);
    for (compiler, source, name) in
        [("gcc", "installed.c", "tessalloc"), ("g++", "installed_mimalloc.cpp", "tessalloc-mimalloc")]
    {
        let program = unique(name);
        let mut command = Command::new(compiler);
        command.args(["-Wall", "-Wextra", "-Werror"]).args(about(&["--cflags", name]));
        command.arg(package().join("tests/c").join(source)).args(about(&["--libs", name])).arg("-o").arg(&program);
        must(&mut command);
        runs(&program);
    }
}

#[test]
fn installed_tree_is_found_by_cmake() {
    if !need("cmake", &["cmake"]) || !(have("make") || need("ninja", &["ninja-build"])) {
        return;
    }
    let project = scratch().join("cmake");
    fs::create_dir_all(&project).expect("create the project's folder");
    let sources = package().join("tests/c");
    let version = env!("CARGO_PKG_VERSION");
    let text = format!(
        "cmake_minimum_required(VERSION 3.13)\n\
         project(installed C CXX)\n\
         find_package(tessalloc {version} REQUIRED)\n\
         add_executable(shared {0}/installed.c)\n\
         target_link_libraries(shared PRIVATE tessalloc::tessalloc)\n\
         add_executable(static {0}/installed.c)\n\
         target_link_libraries(static PRIVATE tessalloc::static)\n\
         add_executable(mimalloc {0}/installed_mimalloc.cpp)\n\
         target_link_libraries(mimalloc PRIVATE tessalloc::mimalloc)\n\
         find_package(tessalloc 99 QUIET)\n\
         if(tessalloc_FOUND)\n  message(FATAL_ERROR \"version 99 was found\")\nendif()\n",
        sources.display()
    );
    fs::write(project.join("CMakeLists.txt"), text).expect("write the project");
    let mut configure = Command::new("cmake");
    configure.arg("-S").arg(&project).arg("-B").arg(project.join("build"));
    if !have("make") {
        configure.args(["-G", "Ninja"]);
    }
    must(configure.arg(format!("-DCMAKE_PREFIX_PATH={}", tree().display())));
    must(Command::new("cmake").arg("--build").arg(project.join("build")));
    for program in ["shared", "static", "mimalloc"] {
        runs(&project.join("build").join(program));
    }
}
