/**
 * A judge made of Cedar's own WebAssembly build: it asks again what was asked when access was
 * decided. It reads evidence bundles, and knows nothing of ours but what the reference pages say.
 *
 * 1. The policy of a decision is a document of the bundle: what `sha256sum` prints over its files,
 *    each of which is a document too.
 * 2. The questions are all that this kind of input has, for everybody whom they are about.
 * 3. Each question, asked again on the recorded input, gets the same decision from the same rules,
 *    and the same rules err. The whole policy is asked, not the rules of one question.
 * 4. The rules stand in the files as the record quotes them.
 * 5. The outcome, the approvals and the longest time are what the answers and the annotations of
 *    the determining rules come to; and the header says no more.
 *
 * Steps of `muniment:…` are invariants in Muniment's code: they can only deny, and are not asked.
 *
 * usage: node judge.mjs BUNDLE…
 */

import cedar from "@cedar-policy/cedar-wasm/nodejs";
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { isDeepStrictEqual } from "node:util";

const OURS = "muniment:";
const TYPES = {
  human: "Muniment::Human",
  workload: "Muniment::Workload",
  agent: "Muniment::Agent",
};

class Refused extends Error {}

const seen = { decisions: 0, asked: 0, ours: 0, missing: 0 };

function judge(bundle) {
  const documents = new Map(
    Object.entries(bundle.documents).map(([digest, text]) => [digest, Buffer.from(text, "base64")]),
  );
  for (const { header: text, sections } of bundle.records) {
    const header = JSON.parse(text);
    if (header.kind !== "decision:evaluated") continue;
    const sealed = sections.decision;
    if (sealed?.content === undefined) {
      seen.missing += 1; // erased, or withheld from this reader
      continue;
    }
    try {
      replay(JSON.parse(Buffer.from(sealed.content, "base64").toString()), header.body, documents);
    } catch (reason) {
      if (reason instanceof Refused) reason.message = `${header.id}: ${reason.message}`;
      throw reason;
    }
    seen.decisions += 1;
  }
}

function replay(record, header, documents) {
  const policy = load(header.bundle, documents); // 1.
  same("the digest of the policy", record.bundle, header.bundle);
  const foreign = record.steps.filter((step) => !isOurs(step));
  same("the questions", foreign.map(name).sort(), questions(record.input).map(name).sort()); // 2.
  for (const step of record.steps) {
    if (isOurs(step)) {
      same("what an invariant says", step.decision, "Deny");
      seen.ours += 1;
    } else {
      askAgain(step, record.input, policy); // 3.
      seen.asked += 1;
    }
  }
  checkQuotes(record, policy); // 4.
  checkOutcome(record, header, policy); // 5.
}

// --- 1. the policy --------------------------------------------------------------------------

function load(digest, documents) {
  const lines = content(digest, documents).toString("ascii").trimEnd().split("\n");
  const listed = lines.map((line) => [line.slice(66), content(line.slice(0, 64), documents)]);
  const files = new Map(listed);
  const rules = new Map();
  for (const [file, data] of files) {
    if (!file.endsWith(".cedar")) continue;
    const parts = succeeded(cedar.policySetTextToParts(data.toString()));
    for (const text of parts.policies) {
      const { annotations, effect } = succeeded(cedar.policyToJson(text)).json;
      if (!annotations?.id || rules.has(annotations.id)) {
        throw new Refused(`${file}: a rule without an id of its own`);
      }
      rules.set(annotations.id, { text, annotations, effect });
    }
  }
  const schema = files.get("schema.cedarschema");
  if (schema === undefined) throw new Refused("the policy has no schema");
  return { files, rules, schema: schema.toString() };
}

function content(digest, documents) {
  const data = documents.get(digest);
  if (data === undefined) throw new Refused(`document ${digest} is not in the bundle`);
  same(`the digest of document ${digest}`, sha256(data), digest);
  return data;
}

function succeeded(answer) {
  if (answer.type !== "success") {
    throw new Refused(answer.errors.map((each) => each.message).join("; "));
  }
  return answer;
}

// --- 2. and 3. the questions ----------------------------------------------------------------

function questions({ kind, facts }) {
  const about = {
    access: () => [
      [facts.requester, facts.sponsor].filter(Boolean),
      facts.emergency ? ["breakGlass"] : ["request", "require"],
    ],
    approval: () => [[facts.approver], ["approve"]],
    operation: () => [[facts.principal], ["operate"]],
  }[kind];
  if (about === undefined) throw new Refused(`no kind of input: ${kind}`);
  const [principals, actions] = about();
  return principals.flatMap(({ kind: type, id }) =>
    actions.map((action) => ({ action, principal: { type: TYPES[type], id } })),
  );
}

function name({ action, principal }) {
  return `${action} of ${principal.type}::"${principal.id}"`;
}

function isOurs(step) {
  return step.rules.length > 0 && step.rules.every((rule) => rule.startsWith(OURS));
}

function askAgain(step, input, policy) {
  const staticPolicies = Object.fromEntries([...policy.rules].map(([id, { text }]) => [id, text]));
  const answer = cedar.isAuthorized({
    principal: step.principal,
    action: { type: "Muniment::Action", id: step.action },
    resource: input.resource,
    context: input.context,
    entities: input.entities,
    schema: policy.schema,
    validateRequest: true,
    policies: { staticPolicies },
  });
  if (answer.type !== "success") {
    same(name(step), step.decision, "NoDecision");
    return;
  }
  const { decision, diagnostics } = answer.response;
  same(name(step), step.decision, decision === "allow" ? "Allow" : "Deny");
  same(`the rules of ${name(step)}`, step.rules, diagnostics.reason.sort());
  const erred = diagnostics.errors.map((error) => error.policyId).sort();
  const recorded = erred.filter((id) => step.errors.some((text) => text.includes(`\`${id}\``)));
  same(`the rules that err in ${name(step)}`, recorded, erred);
  same(`how many rules err in ${name(step)}`, step.errors.length, erred.length);
}

// --- 4. the quotes --------------------------------------------------------------------------

function checkQuotes(record, policy) {
  const determining = [...new Set(record.steps.flatMap((step) => step.rules))].sort();
  same("the rules quoted", record.rules.map((rule) => rule.id), determining);
  for (const quote of record.rules) {
    if (quote.id.startsWith(OURS)) continue;
    const rule = policy.rules.get(quote.id);
    const lines = policy.files.get(quote.file)?.toString().split("\n") ?? [];
    const there = lines.slice(quote.line - 1).join("\n").trimStart().startsWith(quote.text);
    same(`whether ${quote.id} stands where it is quoted from`, there, true);
    same(`the text of ${quote.id}`, quote.text, rule.text);
    same(`the digest of ${quote.id}`, quote.sha256, sha256(quote.text));
    same(`the title of ${quote.id}`, quote.title, rule.annotations.title ?? "");
    same(`the effect of ${quote.id}`, quote.effect, rule.effect);
  }
}

// --- 5. the outcome -------------------------------------------------------------------------

function checkOutcome(record, header, policy) {
  const { outcome, approvals, longest } = outcomeOf(record, policy);
  same("the outcome", record.outcome, outcome);
  same("the outcome in the header", header.outcome, outcome);
  same("the rules in the header", header.rules, record.rules.map((rule) => rule.id));
  const demanded = Object.entries(record.obligations.approvals);
  const counts = Object.fromEntries(demanded.map(([group, { count }]) => [group, count]));
  same("the approvals", counts, approvals);
  same("the approvals in the header", header.approvals, approvals);
  same("the longest time", record.obligations.max_seconds?.value, longest);
  same("the longest time in the header", header.max_seconds, longest ?? 0);
}

function outcomeOf(record, policy) {
  const denied = { outcome: "deny", approvals: {}, longest: undefined };
  const allows = (step) => step.decision === "Allow" && step.errors.length === 0;
  if (!record.steps.every(allows)) return denied;
  const { kind, facts, context } = record.input;
  if (kind !== "access") return { ...denied, outcome: "permit" };
  const carrier = facts.emergency ? "breakGlass" : "require";
  const carried = record.steps.filter((step) => step.action === carrier);
  const ids = new Set(carried.flatMap((step) => step.rules));
  const demands = [...ids].map((id) => policy.rules.get(id).annotations);
  const limits = demands.flatMap((each) => each.max_duration ?? []).map(seconds);
  const longest = limits.length > 0 ? Math.min(...limits) : undefined;
  const said = demands.flatMap((each) => each.approvals ?? []);
  const approvals = strictest(said.filter((text) => text !== "none"));
  const asked = Number(/^(\d+)s$/.exec(context.duration.__extn.arg)[1]);
  if (longest === undefined || asked > longest) return denied;
  if (facts.emergency) return { outcome: "break_glass", approvals, longest };
  if (said.length === 0) return denied;
  const outcome = Object.keys(approvals).length > 0 ? "needs_approvals" : "auto_approve";
  return { outcome, approvals, longest };
}

function strictest(texts) {
  const counts = {};
  for (const part of texts.flatMap((text) => text.split(","))) {
    const [group, count] = part.trim().split(":");
    counts[group] = Math.max(counts[group] ?? 0, Number(count));
  }
  return counts;
}

function seconds(text) {
  const [, hours, minutes] = /^PT(?:(\d+)H)?(?:(\d+)M)?$/.exec(text);
  return 3600 * Number(hours ?? 0) + 60 * Number(minutes ?? 0);
}

// --- what all of them use -------------------------------------------------------------------

function same(what, recorded, found) {
  if (!isDeepStrictEqual(recorded, found)) {
    const [before, now] = [recorded, found].map((value) => JSON.stringify(value));
    throw new Refused(`${what}: recorded ${before}, found ${now}`);
  }
}

function sha256(data) {
  return createHash("sha256").update(data).digest("hex");
}

try {
  for (const file of process.argv.slice(2)) judge(JSON.parse(readFileSync(file, "utf8")));
  const { decisions, asked, ours, missing } = seen;
  const counts = `${decisions} decisions, ${asked} questions asked again`;
  console.log(`accepted: ${counts}, ${ours} of Muniment's own, ${missing} not given`);
} catch (reason) {
  if (!(reason instanceof Refused)) throw reason;
  console.log(`refused: ${reason.message}`);
  process.exitCode = 1;
}
