//! The parameters of a design for CloudFormation.

use std::fs;
use std::path::Path;

use pixel_engine::plan::Plan;
use pixel_engine::plan::designs::Design;
use pixel_engine::plan::template::parameters;

/// Writes those of the design with that name, or of the cheapest.
pub(super) fn write(path: &Path, plan: &Plan, name: Option<&str>, aggregate_size: usize) -> Result<(), String> {
    let design = chosen(plan, name)?;
    let parameters = parameters(&plan.setup, design, aggregate_size);
    let parameters = parameters.map_err(|error| format!("--template: design {}: {error}", design.way))?;
    let mut json = serde_json::to_vec_pretty(&parameters).expect("its keys are text");
    json.push(b'\n');
    fs::write(path, json).map_err(|error| format!("{}: {error}", path.display()))
}

fn chosen<'a>(plan: &'a Plan, name: Option<&str>) -> Result<&'a Design, String> {
    let of_name = |name: &str| plan.designs.iter().find(|design| design.way.id() == name);
    match (name, &plan.answer.cheapest) {
        (Some(name), _) => of_name(name).ok_or_else(|| {
            let names: Vec<&str> = plan.designs.iter().map(|design| design.way.id()).collect();
            format!("--design {name}: there are {}; those that compress need a sample", names.join(", "))
        }),
        (None, Some(cheapest)) => Ok(of_name(cheapest.design.id()).expect("the cheapest is one of the designs")),
        (None, None) => {
            Err("--template: no design has all its prices, so none is the cheapest: name one with --design".to_owned())
        }
    }
}
