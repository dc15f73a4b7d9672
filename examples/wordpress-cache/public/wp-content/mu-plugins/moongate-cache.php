<?php
/**
 * Plugin Name: Moongate cache
 * Description: Tells Moongate which kept pages are to be made anew.
 *
 * A change is told by the header X-Cache-Purge of the answer that made it, which Moongate follows and
 * does not send on. Where no header can be sent any more (wp-cron.php, a command line), the site asks
 * itself for an answer with that header, with a signature that nobody else can make.
 */

defined('ABSPATH') || exit;

const MOONGATE_WORDS = 90; // of one header; more than that is everything
const MOONGATE_EVERYWHERE = ['wp_template', 'wp_template_part', 'wp_global_styles', 'wp_navigation', 'wp_block',
    'nav_menu_item', 'custom_css']; // posts that are parts of all pages

/** The tag of an address; route.lua makes the same of a request. */
function moongate_cache_tag($url)
{
    $path = rawurldecode((string) parse_url($url, PHP_URL_PATH));
    $page = preg_replace(
        ['#/+$#D', '#/page/[0-9]+$#D', '#/comment-page-[0-9]+$#D', '#/feed$#D', '#/feed/[A-Za-z0-9]+$#D'], '', $path);
    return substr('page:' . preg_replace('/[\x00-\x20\x7f]/', '_', $page), 0, 200);
}

/** Has kept pages made anew: words of X-Cache-Purge. */
function moongate_cache_purge(array $words)
{
    static $all = [], $later = false;
    $all = array_unique(array_merge($all, $words));
    $value = in_array('all', $all, true) || count($all) > MOONGATE_WORDS ? 'all' : implode(' ', $all);
    if (!headers_sent() && PHP_SAPI !== 'cli') {
        header('X-Cache-Purge: ' . $value);
    } elseif (!$later) {
        $later = true;
        add_action('shutdown', function () use (&$all) {
            moongate_cache_tell(count($all) > MOONGATE_WORDS ? ['all'] : $all);
        });
    }
}

/** Asks the site itself for an answer with the header. */
function moongate_cache_tell(array $words)
{
    $value = implode(' ', $words);
    wp_remote_post(admin_url('admin-ajax.php'), ['body' => [
        'action' => 'moongate_cache', 'words' => $value, 'sign' => wp_hash('moongate ' . $value),
    ]]);
}

function moongate_cache_told()
{
    $value = wp_unslash($_POST['words'] ?? '');
    if (is_string($value) && hash_equals(wp_hash('moongate ' . $value), (string) ($_POST['sign'] ?? ''))) {
        header('X-Cache-Purge: ' . $value);
    }
    wp_die();
}
add_action('wp_ajax_nopriv_moongate_cache', 'moongate_cache_told');
add_action('wp_ajax_moongate_cache', 'moongate_cache_told');

/** Has the pages at these addresses made anew; what is no text is none. */
function moongate_cache_purge_urls(array $urls)
{
    moongate_cache_purge(array_map(function ($url) {
        return 'tag:' . moongate_cache_tag($url);
    }, array_filter($urls, 'is_string')));
}

/** The pages that show a post: its own, the front page with its feeds, archives. */
function moongate_cache_purge_post($post)
{
    if (in_array($post->post_type, MOONGATE_EVERYWHERE, true)) {
        moongate_cache_purge(['all']);
    } elseif (!is_post_type_viewable($post->post_type)) {
        return;
    }
    $urls = [get_permalink($post), home_url('/'), home_url('/comments/'),
        get_post_type_archive_link($post->post_type), get_author_posts_url($post->post_author)];
    for ($i = substr_count($post->post_content, '<!--nextpage-->') + 1; $i > 1; $i--) {
        $urls[] = trailingslashit($urls[0]) . $i;
    }
    foreach (get_object_taxonomies($post->post_type) as $taxonomy) {
        foreach (get_the_terms($post, $taxonomy) ?: [] as $term) {
            $urls[] = is_object($term) ? get_term_link($term) : null;
        }
    }
    [$year, $month, $day] = array_map('intval', explode('-', substr($post->post_date, 0, 10)));
    array_push($urls, get_year_link($year), get_month_link($year, $month), get_day_link($year, $month, $day));
    moongate_cache_purge_urls($urls);
}

add_action('transition_post_status', function ($new, $old, $post) {
    if ($new === 'publish' || $old === 'publish') {
        moongate_cache_purge_post($post);
    }
}, 10, 3);
add_action('post_updated', function ($id, $after, $before) { // under its address of before
    if ($before->post_status === 'publish') {
        moongate_cache_purge_post($before);
    }
}, 10, 3);
add_action('before_delete_post', function ($id) {
    $post = get_post($id);
    if ($post && $post->post_status === 'publish') {
        moongate_cache_purge_post($post);
    }
});
add_action('set_object_terms', function ($id, $terms, $now, $taxonomy, $append, $before) {
    $post = get_post($id);
    if ($post && $post->post_status === 'publish' && is_post_type_viewable($post->post_type)) {
        moongate_cache_purge_urls(array_map(function ($number) {
            $term = get_term_by('term_taxonomy_id', $number);
            return $term ? get_term_link($term) : null;
        }, array_merge($now, $before)));
    }
}, 10, 6);

function moongate_cache_purge_comment($comment)
{
    $post = $comment ? get_post($comment->comment_post_ID) : null;
    if ($post) {
        moongate_cache_purge_post($post);
    }
}
add_action('comment_post', function ($id, $approved) {
    if ($approved === 1) {
        moongate_cache_purge_comment(get_comment($id));
    }
}, 10, 2);
add_action('transition_comment_status', function ($new, $old, $comment) {
    if ($new === 'approved' || $old === 'approved') {
        moongate_cache_purge_comment($comment);
    }
}, 10, 3);
add_action('edit_comment', function ($id) {
    moongate_cache_purge_comment(get_comment($id));
});

// What all pages show.
foreach (['switch_theme', 'customize_save_after', 'wp_update_nav_menu', 'activated_plugin', 'deactivated_plugin',
    'upgrader_process_complete', 'permalink_structure_changed', 'edited_term', 'delete_term', 'profile_update',
    'update_option_blogname', 'update_option_blogdescription', 'update_option_sidebars_widgets',
    'update_option_show_on_front', 'update_option_page_on_front'] as $hook) {
    add_action($hook, function () {
        moongate_cache_purge(['all']);
    });
}
