//! How long the verifier walks. The kernel's limit is a million instructions; older kernels walk further for the same
//! program, and every instruction is time at each load.

use anyhow::{Context, Result};

use crate::loaded::{Loaded, Program};

#[test]
fn the_verifier_walks_no_further_than_the_budgets() -> Result<()> {
    let loaded = Loaded::new()?;
    for (program, budget) in [
        (Program::FromWorkload, 60_000),
        (Program::ToWorkload, 10_000),
    ] {
        let info = loaded.program(program)?.info()?;
        let walked = info
            .verified_instruction_count()
            .context("this kernel does not say how far its verifier walked (Linux 5.16 does)")?;
        println!(
            "{}: {walked} of {budget} verified instructions",
            program.name()
        );
        assert!(walked < budget, "{}: {walked} instructions", program.name());
    }
    Ok(())
}
