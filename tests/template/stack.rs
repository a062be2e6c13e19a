//! A template with its parameters filled in: conditions decided, functions carried out, and every
//! reference looked up.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

/// What CloudFormation knows by itself.
const PSEUDO: [(&str, &str); 5] = [
    ("AWS::AccountId", "123456789012"),
    ("AWS::Partition", "aws"),
    ("AWS::Region", "us-east-1"),
    ("AWS::StackName", "pixel"),
    ("AWS::StackId", "arn:aws:cloudformation:us-east-1:123456789012:stack/pixel/1"),
];

pub(crate) type Parameters = BTreeMap<String, String>;

/// What a template comes to with some parameters.
pub(crate) struct Stack {
    pub(crate) parameters: Parameters,
    /// Those whose condition holds. A reference is `${NAME}` or `${NAME.ATTRIBUTE}`.
    pub(crate) resources: Map<String, Value>,
    pub(crate) outputs: Map<String, Value>,
    /// References to what is not there.
    pub(crate) dangling: BTreeSet<String>,
}

impl Stack {
    /// `None` when a rule of the template refuses the parameters.
    pub(crate) fn new(template: &Value, given: &[(&str, &str)]) -> Option<Stack> {
        let parameters = parameters(template, given);
        let resolver = Resolver::new(template, &parameters, None);
        resolver.is_allowed().then(|| {
            let (resources, outputs) = (resolver.section("Resources"), resolver.section("Outputs"));
            Stack { resources, outputs, dangling: resolver.dangling.take(), parameters: parameters.clone() }
        })
    }

    /// The properties of a resource.
    #[track_caller]
    pub(crate) fn properties(&self, name: &str) -> &Value {
        &self.resources.get(name).unwrap_or_else(|| panic!("no {name} with {:?}", self.parameters))["Properties"]
    }

    /// The resources of a type.
    pub(crate) fn of_type<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = (&'a String, &'a Value)> {
        self.resources.iter().filter(move |(_, it)| it["Type"] == kind)
    }
}

/// A template of the resources of these types alone, without parameters and conditions. References
/// to others become names.
pub(crate) fn part_of(template: &Value, given: &[(&str, &str)], kinds: &[&str]) -> Value {
    let parameters = parameters(template, given);
    let resolver = Resolver::new(template, &parameters, Some(kinds));
    assert!(resolver.is_allowed(), "{given:?}");
    let mut resources = resolver.section("Resources");
    resources.retain(|_, resource| kinds.contains(&resource["Type"].as_str().expect("a type")));
    json!({ "AWSTemplateFormatVersion": "2010-09-09", "Resources": resources })
}

/// The parameters with their defaults.
fn parameters(template: &Value, given: &[(&str, &str)]) -> Parameters {
    let declared = template["Parameters"].as_object().expect("parameters");
    assert!(given.iter().all(|(name, _)| declared.contains_key(*name)), "{given:?}");
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let defaults = declared.iter().map(|(name, it)| (name.clone(), text(&it["Default"])));
    defaults.chain(given.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))).collect()
}

struct Resolver<'a> {
    template: &'a Value,
    parameters: &'a Parameters,
    /// The types whose resources stay references of CloudFormation.
    kept: Option<&'a [&'a str]>,
    dangling: RefCell<BTreeSet<String>>,
}

impl<'a> Resolver<'a> {
    fn new(template: &'a Value, parameters: &'a Parameters, kept: Option<&'a [&'a str]>) -> Resolver<'a> {
        Resolver { template, parameters, kept, dangling: RefCell::default() }
    }

    fn is_allowed(&self) -> bool {
        self.template["Rules"].as_object().expect("rules").values().all(|rule| {
            let applies = rule.get("RuleCondition").is_none_or(|condition| self.condition(condition));
            let assertions = rule["Assertions"].as_array().expect("assertions");
            !applies || assertions.iter().all(|it| self.condition(&it["Assert"]))
        })
    }

    fn section(&self, name: &str) -> Map<String, Value> {
        let entries = self.template[name].as_object().expect("a section");
        let entries = entries.iter().filter(|(_, entry)| self.exists(entry));
        entries
            .map(|(name, entry)| {
                let mut entry = entry.as_object().expect("an entry").clone();
                entry.remove("Condition");
                (name.clone(), self.value(&entry.into()).expect("an entry is a value"))
            })
            .collect()
    }

    fn exists(&self, entry: &Value) -> bool {
        entry["Condition"].as_str().is_none_or(|name| self.named(name))
    }

    fn named(&self, name: &str) -> bool {
        let condition = &self.template["Conditions"][name];
        assert!(!condition.is_null(), "no condition {name}");
        self.condition(condition)
    }

    fn condition(&self, condition: &Value) -> bool {
        let (function, of) = single(condition).unwrap_or_else(|| panic!("no condition: {condition}"));
        let all = || of.as_array().expect("a list");
        match function {
            "Condition" => self.named(of.as_str().expect("a name")),
            "Fn::Equals" => self.value(&all()[0]) == self.value(&all()[1]),
            "Fn::Not" => !self.condition(&all()[0]),
            "Fn::And" => all().iter().all(|it| self.condition(it)),
            "Fn::Or" => all().iter().any(|it| self.condition(it)),
            "Fn::Contains" => all()[0].as_array().expect("a list").contains(&self.value(&all()[1]).expect("a value")),
            other => panic!("unknown condition {other}"),
        }
    }

    /// `None` is `AWS::NoValue`.
    fn value(&self, value: &Value) -> Option<Value> {
        if let Some((function, of)) = single(value) {
            match function {
                "Ref" if of == "AWS::NoValue" => return None,
                "Ref" => return Some(self.reference(of.as_str().expect("a name"), None)),
                "Fn::GetAtt" => {
                    let name = |place: usize| of[place].as_str().unwrap_or_else(|| panic!("GetAtt {of}"));
                    return Some(self.reference(name(0), Some(name(1))));
                }
                "Fn::If" => return self.value(&of[if self.named(of[0].as_str().expect("a name")) { 1 } else { 2 }]),
                "Fn::FindInMap" => {
                    let key = |place: usize| self.value(&of[place]).expect("a key");
                    let [map, first, second] = [0, 1, 2].map(|place| key(place).as_str().expect("text").to_owned());
                    let found = &self.template["Mappings"][&map][&first][&second];
                    assert!(!found.is_null(), "nothing at {map} {first} {second}");
                    return Some(found.clone());
                }
                "Fn::Sub" => return Some(self.substituted(of)),
                other => assert!(!other.starts_with("Fn::"), "unknown function {other}"),
            }
        }
        Some(match value {
            Value::Array(values) => values.iter().filter_map(|value| self.value(value)).collect(),
            Value::Object(members) => {
                let members = members.iter().filter_map(|(name, value)| Some((name.clone(), self.value(value)?)));
                Value::Object(members.collect())
            }
            other => other.clone(),
        })
    }

    fn substituted(&self, of: &Value) -> Value {
        let (text, variables) = match of {
            Value::Array(parts) => (parts[0].as_str(), &parts[1]),
            text => (text.as_str(), &Value::Null),
        };
        let mut pieces: Vec<Value> = Vec::new();
        let mut rest = text.expect("text");
        while let Some(start) = rest.find("${") {
            let end = start + rest[start..].find('}').expect("it ends");
            pieces.push(rest[..start].into());
            let name = &rest[start + 2..end];
            pieces.push(match (name.strip_prefix('!'), variables.get(name), name.split_once('.')) {
                (Some(literal), ..) => format!("${{{literal}}}").into(),
                (_, Some(variable), _) => self.value(variable).expect("a value"),
                (.., Some((name, attribute))) => self.reference(name, Some(attribute)),
                _ => self.reference(name, None),
            });
            rest = &rest[end + 1..];
        }
        pieces.push(rest.into());
        let texts: Option<Vec<&str>> = pieces.iter().map(Value::as_str).collect();
        match texts {
            Some(texts) => texts.concat().into(),
            None => json!({ "Fn::Join": ["", pieces] }),
        }
    }

    fn reference(&self, name: &str, attribute: Option<&str>) -> Value {
        if let Some((_, value)) = PSEUDO.iter().find(|(pseudo, _)| *pseudo == name) {
            return (*value).into();
        }
        if let Some(value) = self.parameters.get(name) {
            let is_number = self.template["Parameters"][name]["Type"] == "Number";
            return if is_number { value.parse::<u64>().expect("a number").into() } else { value.clone().into() };
        }
        let resource = &self.template["Resources"][name];
        if resource.is_null() || !self.exists(resource) {
            self.dangling.borrow_mut().insert(name.to_owned());
        }
        let is_kept = self.kept.is_some_and(|kinds| kinds.contains(&resource["Type"].as_str().unwrap_or_default()));
        match (is_kept, attribute) {
            (true, None) => json!({ "Ref": name }),
            (true, Some(attribute)) => json!({ "Fn::GetAtt": [name, attribute] }),
            (false, _) if self.kept.is_some() => format!("arn:aws:other:us-east-1:123456789012:{name}").into(),
            (false, None) => format!("${{{name}}}").into(),
            (false, Some(attribute)) => format!("${{{name}.{attribute}}}").into(),
        }
    }
}

/// The only member of an object.
fn single(value: &Value) -> Option<(&str, &Value)> {
    let members = value.as_object().filter(|members| members.len() == 1)?;
    members.iter().next().map(|(name, value)| (name.as_str(), value))
}
