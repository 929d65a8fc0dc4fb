import com.mypurecloud.sdk.v2.ApiClient;
import com.mypurecloud.sdk.v2.ApiException;
import com.mypurecloud.sdk.v2.api.UsersApi;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.atomic.AtomicInteger;

/**
 * Polls one agent through the Genesys Cloud SDK for Java, from several threads that share a client.
 *
 * <p>Nothing here knows about tokens: the SDK logs in, and its base path says where. Half-way
 * through, one poller has every token revoked at the server; the others are in mid-request.
 *
 * <p>Environment: BASE_PATH, CLIENT_ID, CLIENT_SECRET; POLLERS and POLLS (per poller); AGENT;
 * LAB_CONTROL (a lab's address; without it nothing is revoked).
 */
public final class Poll {
    private static final int POLLERS = Integer.parseInt(setting("POLLERS", "8"));
    private static final int POLLS = Integer.parseInt(setting("POLLS", "12"));
    private static final String AGENT = setting("AGENT", "agent-1");
    private static final String LAB_CONTROL = setting("LAB_CONTROL", "");

    private final AtomicInteger logins = new AtomicInteger();
    private final AtomicInteger polls = new AtomicInteger();
    private final AtomicInteger errors = new AtomicInteger();

    public static void main(String[] arguments) throws Exception {
        System.exit(new Poll().run());
    }

    private int run() throws Exception {
        UsersApi users = logIn();
        ExecutorService threads = Executors.newFixedThreadPool(POLLERS);
        List<Callable<Void>> pollers = new ArrayList<>();
        for (int number = 0; number < POLLERS; number++) {
            boolean revokes = number == 0 && !LAB_CONTROL.isEmpty();
            pollers.add(() -> poller(users, revokes));
        }
        for (Future<Void> poller : threads.invokeAll(pollers)) {
            poller.get();
        }
        threads.shutdown();
        // A program that starts anew logs in again: that must cost no request upstream.
        poll(logIn());
        System.out.printf(
                "{\"client\": \"java\", \"logins\": %d, \"polls\": %d, \"errors\": %d}%n",
                logins.get(), polls.get(), errors.get());
        return errors.get() == 0 && polls.get() == POLLERS * POLLS + 1 ? 0 : 1;
    }

    private UsersApi logIn() throws Exception {
        ApiClient client = ApiClient.Builder.standard().withBasePath(setting("BASE_PATH", "")).build();
        client.authorizeClientCredentials(setting("CLIENT_ID", ""), setting("CLIENT_SECRET", ""));
        logins.incrementAndGet();
        return new UsersApi(client);
    }

    private Void poller(UsersApi users, boolean revokes) throws Exception {
        for (int turn = 0; turn < POLLS; turn++) {
            if (revokes && turn == POLLS / 2) {
                revokeAllTokens();
            }
            poll(users);
        }
        return null;
    }

    private void poll(UsersApi users) {
        try {
            users.getUserRoutingstatus(AGENT);
            polls.incrementAndGet();
        } catch (ApiException error) {
            errors.incrementAndGet();
            System.err.println("poll: " + error.getStatusCode() + " " + error.getRawBody());
        } catch (Exception error) {
            errors.incrementAndGet();
            System.err.println("poll: " + error);
        }
    }

    private static void revokeAllTokens() throws Exception {
        HttpRequest request = HttpRequest.newBuilder(URI.create(LAB_CONTROL + "/lab/revoke"))
                .header("Content-Type", "application/json")
                .POST(HttpRequest.BodyPublishers.ofString("{}"))
                .build();
        int status = HttpClient.newHttpClient()
                .send(request, HttpResponse.BodyHandlers.discarding())
                .statusCode();
        if (status / 100 != 2) {
            throw new IllegalStateException("the lab answered " + status + " to a revocation");
        }
    }

    private static String setting(String name, String otherwise) {
        String value = System.getenv(name);
        return value == null || value.isEmpty() ? otherwise : value;
    }
}
