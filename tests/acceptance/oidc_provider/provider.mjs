// An OpenID provider on a free port of 127.0.0.1, until its standard input ends. It prints its issuer.
// Whoever types a login is that person; nobody is asked for consent; PKCE is required of every client.
import { createServer } from "node:http";
import { exportJWK, generateKeyPair } from "jose";
import Provider from "oidc-provider";

const [redirectUri, secret] = process.argv.slice(2);

async function signingKey(alg) {
  const { privateKey } = await generateKeyPair(alg, { extractable: true });
  return { ...(await exportJWK(privateKey)), alg, use: "sig", kid: `${alg}-1` };
}

const client = (id, rest) => ({
  client_id: id,
  redirect_uris: [redirectUri],
  grant_types: ["authorization_code"],
  response_types: ["code"],
  ...rest,
});

const configuration = {
  jwks: { keys: [await signingKey("RS256"), await signingKey("ES256")] },
  clients: [
    client("public", { token_endpoint_auth_method: "none" }),
    client("confidential", {
      client_secret: secret,
      token_endpoint_auth_method: "client_secret_basic",
      id_token_signed_response_alg: "ES256",
      require_auth_time: true,
    }),
  ],
  claims: { openid: ["sub", "groups"] },
  conformIdTokenClaims: false, // claims stand in the ID token
  findAccount: (_, sub) => ({ accountId: sub, claims: () => ({ sub, groups: ["sre"] }) }),
  async loadExistingGrant(ctx) {
    const { session, client } = ctx.oidc;
    const grant = new ctx.oidc.provider.Grant({
      accountId: session.accountId,
      clientId: client.clientId,
    });
    grant.addOIDCScope("openid profile email");
    await grant.save();
    return grant;
  },
  pkce: { required: () => true },
  cookies: { keys: ["for tests only"] },
};

const server = createServer();
server.listen(0, "127.0.0.1", () => {
  const issuer = `http://127.0.0.1:${server.address().port}`;
  server.on("request", new Provider(issuer, configuration).callback());
  console.log(issuer);
});
process.stdin.on("end", () => process.exit(0)).resume();
