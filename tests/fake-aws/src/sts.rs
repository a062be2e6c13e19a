//! Security Token Service: GetCallerIdentity and AssumeRole, in the query protocol.

use std::borrow::Cow;

use jiff::SignedDuration;

use crate::action::Action;
use crate::authorization::{Credentials, Principal, denial};
use crate::faults::spoil;
use crate::parse::Constraints;
use crate::refusal::Refusal;
use crate::reply::{Protocol, Reply};
use crate::server::Call;

/// The members of a form.
#[derive(Debug)]
pub(crate) struct Form<'a> {
    members: Vec<(Cow<'a, str>, Cow<'a, str>)>,
}

impl<'a> Form<'a> {
    pub(crate) fn parse(body: &'a [u8]) -> Form<'a> {
        Form { members: form_urlencoded::parse(body).collect() }
    }

    fn member(&self, name: &str) -> Option<&str> {
        self.members.iter().find(|member| member.0 == name).map(|member| &*member.1)
    }

    /// The action that is asked for.
    pub(crate) fn action(&self) -> Result<Action, Refusal> {
        let action = self.member("Action").unwrap_or_default();
        match (action, self.member("Version").unwrap_or_default()) {
            ("AssumeRole", "2011-06-15") => Ok(Action::AssumeRole),
            ("GetCallerIdentity", "2011-06-15") => Ok(Action::GetCallerIdentity),
            (_, version) => {
                let message = format!("Could not find operation {action} for version {version}");
                Err(Refusal::violation("InvalidAction", message))
            }
        }
    }
}

pub(crate) fn caller_identity(call: &Call<'_>) -> Reply {
    let Principal { arn, user_id, .. } = call.principal;
    let account = &call.shared.account;
    let result = format!("<Arn>{arn}</Arn><UserId>{user_id}</UserId><Account>{account}</Account>");
    reply(call, Action::GetCallerIdentity, "GetCallerIdentity", &result)
}

pub(crate) fn assume_role(call: &Call<'_>, form: &Form<'_>) -> Result<Reply, Refusal> {
    let (role, session) = (form.member("RoleArn"), form.member("RoleSessionName"));
    let mut constraints = Constraints::default();
    constraints.require_member(role.is_some(), "roleArn");
    constraints.require_member(session.is_some(), "roleSessionName");
    let (role, session) = (role.unwrap_or_default(), session.unwrap_or_default());
    if !session.is_empty() {
        let legal = session.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_+=,.@-".contains(&byte));
        let pattern = "[\\w+=,.@-]*";
        let constraint = format_args!("Member must satisfy regular expression pattern: {pattern}");
        constraints.require(legal, "roleSessionName", constraint);
        constraints.check_len(session.len(), 2..65, "roleSessionName");
    }
    let seconds = form.member("DurationSeconds").map_or(Ok(3600), str::parse);
    let constraint = "Member must have value between 900 and 43200";
    let in_range = seconds.as_ref().is_ok_and(|seconds| (900..=43_200).contains(seconds));
    constraints.require(in_range, "durationSeconds", constraint);
    constraints.finish().map_err(|refusal| Refusal { code: "ValidationError".into(), ..refusal })?;
    let name = role.strip_prefix("arn:aws:iam::").and_then(|rest| rest.split_once(":role/"));
    let Some((account, path)) = name.filter(|(_, path)| !path.is_empty()) else {
        return Err(Refusal::violation("ValidationError", format!("{role} is invalid")));
    };
    let authority = &call.shared.authority;
    authority.check(call.principal, Action::AssumeRole, role)?;
    if authority.role_is_forbidden(role) {
        // Of a role that does not let a user in, and of one that does not exist, STS says no more
        // than this.
        let Refusal { code, message, .. } = denial(call.principal, Action::AssumeRole, role);
        let (message, _) = message.split_once(" because ").expect("the text gives a reason");
        return Err(Refusal { code, message: message.to_owned(), status: 403, violation: false });
    }

    let expires = call.now + SignedDuration::from_secs(seconds.unwrap_or_default());
    let number = call.number;
    let credentials = Credentials {
        access_key: format!("ASIA{number:016X}"),
        secret_key: format!("secret of session {number:024}"),
        session_token: Some(format!("FakeSessionToken{number:048}")),
    };
    let role_name = path.rsplit('/').next().unwrap_or(path);
    let principal = Principal {
        access_key: credentials.access_key.clone(),
        arn: format!("arn:aws:sts::{account}:assumed-role/{role_name}/{session}"),
        user_id: format!("AROACLKWSDQRAOEXAMPLE:{session}"),
        role: Some(role.to_owned()),
    };
    let result = format!(
        "<AssumedRoleUser><AssumedRoleId>{}</AssumedRoleId><Arn>{}</Arn></AssumedRoleUser><Credentials>\
         <AccessKeyId>{}</AccessKeyId><SecretAccessKey>{}</SecretAccessKey><SessionToken>{}</SessionToken>\
         <Expiration>{}</Expiration></Credentials><PackedPolicySize>0</PackedPolicySize>",
        principal.user_id,
        principal.arn,
        credentials.access_key,
        credentials.secret_key,
        credentials.session_token.as_deref().unwrap_or_default(),
        expires.strftime("%Y-%m-%dT%H:%M:%SZ"),
    );
    authority.add_session(&credentials, principal, expires);
    Ok(reply(call, Action::AssumeRole, "AssumeRole", &result))
}

fn reply(call: &Call<'_>, action: Action, name: &str, result: &str) -> Reply {
    let reply = Reply::xml(format!(
        "<{name}Response xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><{name}Result>{result}</{name}Result>\
         </{name}Response>\n"
    ));
    spoil(call.shared.faults.next(action), reply, Protocol::Query)
}
