//! The `keyledger` program.

/// A replay makes and frees some forty small allocations an event, on several threads at once: the C library's allocator takes
/// nearly half of its time with them.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> std::process::ExitCode {
    keyledger::cli::run()
}
