//! The program; everything is in the library, so that tests reach it.

use std::process::ExitCode;

fn main() -> ExitCode {
    letshare_server::cli::main()
}
